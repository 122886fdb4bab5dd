"""Files, processes, cores, progress."""
