"""The command line: one module per command group; each parses, makes one call and prints."""
