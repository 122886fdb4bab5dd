"""Reads untrusted files in processes of their own: one that dies or hangs costs its row."""

from semise_sdk.images.isolation.limits import ReaderLimits
from semise_sdk.images.isolation.reader import ImageReader, InProcessReader, IsolatedReader

__all__ = ["ImageReader", "InProcessReader", "IsolatedReader", "ReaderLimits"]
