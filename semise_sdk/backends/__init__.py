"""The engines that run a bundle's graphs, one module each, and the table that names them."""

from semise_sdk.backends.base import Backend, Graph
from semise_sdk.backends.registry import BACKENDS, Availability, available, check_backend, conflicts, open_graph

__all__ = ["BACKENDS", "Availability", "Backend", "Graph", "available", "check_backend", "conflicts", "open_graph"]
