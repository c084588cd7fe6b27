"""Progress is quiet for short work, a bar on a terminal, a line now and then in a log."""

import io
import logging

import pytest

from dataprune import progress
from dataprune.progress import Bar, track


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: `clock[0]`."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "dataprune.progress")
    return lambda: caplog.messages


def work(clock, count, seconds_each, **words):
    with Bar("train", 100, **words) as bar:
        for _ in range(count):
            clock[0] += seconds_each
            bar.advance(1)


def test_short_work_shows_nothing(clock, lines):
    work(clock, 100, 0.049)
    assert lines() == []


def test_a_log_gets_a_line_after_five_seconds_and_one_a_minute(clock, lines):
    work(clock, 70, 1.0)
    assert lines() == ["train: 5 of 100, 95 s to go", "train: 65 of 100, 35 s to go"]


def test_the_time_to_go_is_that_of_this_attempt(clock, lines):
    work(clock, 5, 1.0, done=90)
    assert lines() == ["train: 95 of 100, 5 s to go"]


@pytest.mark.parametrize("way", ["this bar", "all bars"])
def test_it_can_be_switched_off(clock, lines, monkeypatch, way):
    monkeypatch.setattr(progress, "enabled", way != "all bars")
    work(clock, 70, 1.0, show=way != "this bar")
    assert lines() == []


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(clock, lines, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", screen)
    bar = Bar("train", 100)
    with bar:
        clock[0] += 6
        bar.advance(40)
        assert "train" in screen.getvalue()
        assert "40/100" in screen.getvalue()
        drawn = len(screen.getvalue())
        clock[0] += 0.1
        bar.advance(1)
        assert len(screen.getvalue()) == drawn, "at most five times a second"
    assert bar.rich is None
    assert lines() == []


def test_track_yields_everything_and_counts(clock, lines):
    def slow():
        for i in range(3):
            clock[0] += 4
            yield i

    assert list(track(slow(), "score", 3)) == [0, 1, 2]
    assert lines() == ["score: 2 of 3, 4 s to go"]
