"""A claim has one holder, and its file outlives it."""

from semise_sdk.system.locks import claimed


def test_a_lock_outlives_its_holder_so_that_two_never_hold_one_name(tmp_path):
    work = tmp_path / "work" / "cell"
    with claimed(work) as first:
        (lock,) = work.parent.iterdir()
        held = lock.stat().st_ino
        with claimed(work) as second:
            assert (first, second) == (True, False)
    with claimed(work) as third:
        assert third
        assert lock.stat().st_ino == held
