"""The data of training: the manifest, its check, the split and the cache of decoded images; free of torch."""
