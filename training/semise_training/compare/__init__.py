"""The comparison: every system under one protocol, cell by cell, and the tables and figures made of the cells."""
