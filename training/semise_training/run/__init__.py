"""A training run, from its configuration to its finished run folder."""
