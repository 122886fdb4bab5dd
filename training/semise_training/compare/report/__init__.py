"""The tables, figures and page made of a comparison's cells."""
