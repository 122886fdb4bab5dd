"""SemiSe SDK: rank, grade and segment medical images by severity."""

__version__ = "0.1.0"
