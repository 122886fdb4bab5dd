"""Tables of rows, read and written: CSV, JSON, JSONL."""

from semise_sdk.tables.spreadsheet import restored

__all__ = ["restored"]
