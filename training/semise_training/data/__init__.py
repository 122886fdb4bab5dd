"""The data side of training: the manifest, its check, and the split; free of torch."""
