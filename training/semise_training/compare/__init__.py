"""The comparison of systems under one protocol: cells, and the tables and figures made of them."""
