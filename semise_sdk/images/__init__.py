"""From bytes to a canvas: sources, readers, isolation, preprocessing."""
