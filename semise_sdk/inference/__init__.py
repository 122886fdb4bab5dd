"""A model that is open, and how it answers."""
