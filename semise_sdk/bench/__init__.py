"""Measures a bundle on this machine: speed and answers of every backend, device, precision and batch size."""

from semise_sdk.bench.compare import Truth
from semise_sdk.bench.rows import BenchRow, Case, Latency, Speed
from semise_sdk.bench.run import BATCHES, BenchReport, Request, run_bench

__all__ = ["BATCHES", "BenchReport", "BenchRow", "Case", "Latency", "Request", "Speed", "Truth", "run_bench"]
