"""How a cell is computed."""
