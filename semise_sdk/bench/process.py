"""Runs a job in a child process and returns its outcome, even when the child dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

from semise_sdk.bench.child import Job, Outcome
from semise_sdk.system.json_fields import JsonSource
from semise_sdk.system.machine import end_of

_CODE = "from semise_sdk.bench.child import main; main()"


def run_job(job: Job) -> Outcome:
    """Returns what became of ``job`` in a process of its own; a process that dies is a reason, not an error."""
    # The child imports from where this process does, and never from the working folder, which may hold anything.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CODE],
        input=json.dumps(job.to_json()),
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    result = Path(job.result)
    if done.returncode == 0 and result.is_file():
        return JsonSource("the outcome", ValueError).parse(result.read_bytes()).of(Outcome)
    return Outcome(reason=_death(done.returncode, done.stderr))


def _death(code: int, complaints: str) -> str:
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    last = f": {lines[-1]}" if lines else ""
    return f"the process {end_of(code)}{last}"
