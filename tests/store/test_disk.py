"""A disk that is full or closed is an error that says so, and never the end of a process without a word."""

import errno

import numpy as np
import pytest

from dataprune.store import about_disk, create_array, disk


def test_an_array_has_its_room_before_it_is_written(tmp_path):
    array = create_array(tmp_path / "x.npy", np.float32, (1000, 1000))
    there = (tmp_path / "x.npy").stat()
    assert 512 * there.st_blocks >= there.st_size > 4_000_000
    assert not array.any()
    array[:] = 1
    array.flush()
    assert np.load(tmp_path / "x.npy").all()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Quota")])
def test_a_full_disk_is_said_of_the_store(tmp_path, error):
    assert str(about_disk(error, str(tmp_path))).startswith(f"run.store='{tmp_path}': expected room on its disk")


@pytest.mark.parametrize("error", [OSError("8 requested and 4 written"), RuntimeError("iostream error")])
def test_a_short_write_is_about_the_disk_only_if_that_is_full(tmp_path, monkeypatch, error):
    assert about_disk(error, str(tmp_path / "new")) is None
    monkeypatch.setattr(disk, "_free", lambda path: 4096)
    assert "one is full" in str(about_disk(error, str(tmp_path / "new")))


def test_a_closed_folder_is_said_of_the_store_only_below_it(tmp_path):
    inside = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "store" / "locks"))
    assert "expected a folder that can be written" in str(about_disk(inside, str(tmp_path / "store")))
    elsewhere = OSError(errno.ENOTDIR, "Not a directory", "data")
    assert about_disk(elsewhere, str(tmp_path / "store")) is None


def test_other_errors_keep_their_stack_trace(tmp_path):
    assert about_disk(ValueError("x"), str(tmp_path)) is None
    assert about_disk(FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / "x")), str(tmp_path)) is None
