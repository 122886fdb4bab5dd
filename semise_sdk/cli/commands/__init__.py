"""The commands, one module a group: parse, one call, print."""
