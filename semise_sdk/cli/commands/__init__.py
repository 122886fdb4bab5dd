"""The commands of ``semise``, one module per group: each parses, makes one call and prints."""
