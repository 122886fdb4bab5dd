"""The former place of :mod:`semise_sdk.tables`'s spreadsheet functions, kept for one release."""

from semise_sdk.tables.spreadsheet import neutralised, restored

__all__ = ["neutralised", "restored"]
