"""The cells of a comparison, one system on one split with one seed each: planned, answered and stored."""
