"""The HTML page and the table of a patient's images over time."""
