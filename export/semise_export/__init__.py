"""Export: turns a run folder into a bundle, and writes none whose answers differ from torch's."""

__all__: list[str] = []
