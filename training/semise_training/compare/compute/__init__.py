"""Computes cells: a system is trained and selected first, and only then is the test part opened."""
