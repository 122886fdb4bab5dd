"""Work on a whole bundle: verify it by its golden files, calibrate it, evaluate it on labeled images."""
