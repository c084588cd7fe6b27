"""What a job survives, a few cases of each kind; `python -m benchmarks.faults` tries them all."""

import pytest

from benchmarks.faults import disks, flips, inputs, kills, twins
from benchmarks.faults.__main__ import KNOWN
from benchmarks.faults.bad import attempt
from benchmarks.faults.jobs import Forks, run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]  # a busy machine takes three times as long


@pytest.fixture(scope="module")
def forks():
    """Jobs in processes forked from one that has done the imports."""
    return Forks()


def survived(line):
    """Skip what this machine does not permit, and fail with what fell."""
    if line.skipped:
        pytest.skip(line.skipped)
    assert line.tried
    assert not [(case, what) for case, what in line.fell if case not in KNOWN]


def test_two_killed_drivers_of_one_store_end_with_the_bytes_of_an_undisturbed_run(tmp_path):
    survived(kills.sweeps(tmp_path, 3, seed=0, pairs=False, seeds="0"))


def test_a_lost_worker_ends_its_driver_and_the_next_run_goes_on(tmp_path):
    survived(kills.processes(tmp_path, [1]))


def test_a_flipped_bit_is_named_by_the_next_run_and_by_store_verify(tmp_path, forks):
    survived(flips.campaign(tmp_path, forks, 1, seed=0, sample=14))


def test_a_full_disk_is_named_and_the_next_run_goes_on(tmp_path, forks):
    survived(disks.full(tmp_path, forks, [0.5]))


def test_a_read_only_store_is_one_line_or_serves_what_it_has(tmp_path, forks):
    survived(disks.read_only(tmp_path, forks))


def test_two_drivers_with_equal_pids_share_a_store(tmp_path):
    survived(twins.campaign(tmp_path, 1))


@pytest.mark.parametrize("bad", inputs.SHORT, ids=lambda bad: bad.name)
def test_bad_input_is_one_line_before_any_training(tmp_path, forks, bad):
    if bad.name in KNOWN:
        pytest.xfail(KNOWN[bad.name])
    assert not attempt(bad, tmp_path / "job", forks.run)


def test_the_table_of_bad_input_is_long_and_says_each_once():
    names = [bad.name for bad in inputs.TABLE]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


def test_a_forked_job_answers_as_a_fresh_one_does(tmp_path, forks):
    words = ["prune_ratio=90"]
    forked, fresh = forks.run(tmp_path / "forked", words), run(tmp_path / "fresh", words)
    assert (forked.code, forked.err) == (fresh.code, fresh.err)
