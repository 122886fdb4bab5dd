"""The record of a run over many images: a journal to resume from, an audit trail, and their verification."""

from semise_sdk.ledger.merge import MergedRuns, merge_runs
from semise_sdk.ledger.run import Ledger
from semise_sdk.ledger.settings import Part, RunSettings
from semise_sdk.ledger.verify import Check, RunReport, verify_run

__all__ = ["Check", "Ledger", "MergedRuns", "Part", "RunReport", "RunSettings", "merge_runs", "verify_run"]
