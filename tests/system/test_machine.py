import os
import signal

import pytest

from semise_sdk.system import machine
from semise_sdk.system.machine import end_of, usable_cores, usable_memory


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("200000 100000\n", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("max 100000", None),
        ("", None),
        ("1 0", None),
    ],
)
def test_a_container_quota_is_read_in_whole_cores(tmp_path, content, cores):
    path = tmp_path / "cpu.max"
    path.write_text(content)
    assert machine._cpu_quota(path) == cores


def test_a_missing_quota_file_means_no_quota(tmp_path):
    assert machine._cpu_quota(tmp_path / "cpu.max") is None


def test_cores_are_limited_by_affinity_and_by_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    monkeypatch.setattr(machine, "_CPU_QUOTA", tmp_path / "none")
    assert usable_cores() == 8
    quota = tmp_path / "cpu.max"
    quota.write_text("300000 100000")
    monkeypatch.setattr(machine, "_CPU_QUOTA", quota)
    assert usable_cores() == 3


def test_memory_is_limited_by_the_container(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    monkeypatch.setattr(machine, "_MEMORY_LIMIT", limit)
    installed = usable_memory()
    assert installed is not None
    assert installed > 1 << 26
    limit.write_text("1048576\n")
    assert usable_memory() == 1 << 20


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with code 0"),
        (3, "ended with code 3"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-signal.SIGKILL, "was ended by SIGKILL, perhaps for want of memory"),
        (-999, "was ended by 999"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code, text):
    assert end_of(code) == text
