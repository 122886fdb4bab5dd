"""Verbs over a whole bundle: verify, calibrate, evaluate."""
