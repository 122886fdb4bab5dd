"""Cells of a comparison: what is planned, answered and kept."""
