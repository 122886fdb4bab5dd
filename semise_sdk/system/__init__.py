"""Files that appear whole or not at all, locks, usable cores, and how long work reports its progress."""
