"""Tables of rows, read and written: CSV, JSON and JSON lines, safe to open in a spreadsheet."""

from semise_sdk.tables.spreadsheet import restored

__all__ = ["restored"]
