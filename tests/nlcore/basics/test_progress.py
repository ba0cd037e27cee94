"""What is said while something long runs: on a terminal, in a log, in a notebook; and to who listens to the heart."""

import contextlib
import os
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from nlcore.basics import progress
from nlcore.basics.progress import HEARTBEAT, Board, beat, duration, seconds_left, steps

NAN = float("nan")


@pytest.mark.parametrize(
    ("expected", "finished", "running", "at_a_time", "left"),
    [
        ({"a": 10.0, "b": 30.0}, {}, {}, 1, 40.0),  # nothing is known of this machine yet: as on the other one
        ({"a": 10.0, "b": 30.0}, {"a": 20.0}, {}, 1, 60.0),  # it is half as fast
        ({"a": 10.0, "b": 30.0}, {"a": 20.0}, {"b": 15.0}, 1, 45.0),
        ({"a": 10.0, "b": 30.0}, {}, {"a": 40.0}, 1, 120.0),  # already four times too long: so is the other one
        ({"a": 10.0, "b": 10.0, "c": 10.0}, {"a": 10.0}, {}, 2, 10.0),
        ({"a": 10.0, "b": 40.0, "c": 10.0}, {"a": 10.0}, {}, 2, 40.0),  # the longest one alone
        ({"a": 10.0, "b": NAN}, {"a": 10.0}, {}, 1, 10.0),  # never measured: as the mean
        ({"a": NAN, "b": NAN, "c": NAN}, {"a": 8.0}, {}, 1, 16.0),
        ({"a": 10.0}, {"a": 9.0}, {}, 1, 0.0),
    ],
)
def test_what_is_left_is_the_stored_time_at_the_speed_of_this_machine(expected, finished, running, at_a_time, left):
    assert seconds_left(expected, finished, running, at_a_time) == pytest.approx(left)


def test_what_takes_two_places_takes_twice_as_much_of_two():
    assert seconds_left({"a": 10.0, "b": 10.0}, {}, {}, 2, {"a": 2}) == pytest.approx(15.0)


def test_nothing_is_said_of_what_is_left_before_anything_is_known():
    assert seconds_left({"a": NAN, "b": NAN}, {}, {"a": 3.0}, 1) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


# -- in a log


def test_a_log_has_a_line_at_each_start_at_each_end_and_every_minute(capsys, monkeypatch):
    monkeypatch.setattr(progress, "MINUTE", 0.2)
    with Board(["a", "b"], "notebooks", {"a": 3.0, "b": 30.0}) as board:
        board.start("a")
        board.end("a", "smoke  3 s")
        board.start("b")
        board.note("b", "epoch 2 of 9")
        time.sleep(0.5)
        board.end("b", "smoke  30 s")
    lines = capsys.readouterr().err.splitlines()
    minute = [line for line in lines if line.startswith("after ")]
    assert [line for line in lines if line not in minute] == [
        "a  started",
        "a  smoke  3 s",
        "b  started",
        "b  smoke  30 s",
    ]
    assert minute and all("1 of 2 notebooks; running b 1 s (epoch 2 of 9); about" in line for line in minute)
    time.sleep(0.3)
    assert capsys.readouterr().err == ""  # nothing more after the end


def test_what_did_not_have_to_run_says_nothing_about_speed_and_is_not_counted(capsys):
    clock = SimpleNamespace(now=0.0)
    board = Board(["a", "b", "c"], "runs", clock=lambda: clock.now)
    board.end("a", "kept", counts=False)
    board.start("b")
    clock.now = 10.0
    board.end("b", "ran")
    assert board.state() == "1 of 2 runs; about 10 s left"
    board.start("c")
    clock.now = 14.0
    assert board.state() == "1 of 2 runs; running c 4 s; about 6 s left"


def test_one_long_thing_tells_every_minute_and_its_end(capsys, monkeypatch):
    monkeypatch.setattr(progress, "MINUTE", 0.05)
    with steps(4, "decoding", "images") as advance:
        for number in (1, 2, 3, 4):
            time.sleep(0.1)
            advance(number, "all is well")
    *middle, last = capsys.readouterr().err.splitlines()
    assert last == "decoding: done in 1 s" and len(middle) == 3
    assert middle[-1] == "decoding: 3 of 4 images after 1 s; about 1 s left; all is well"


def test_what_is_over_within_a_minute_is_not_told(capsys):
    with steps(2, "decoding", "images") as advance:
        advance(1)
        advance(2)
    assert capsys.readouterr().err == ""


def test_one_that_was_stopped_does_not_say_that_it_is_done(capsys, monkeypatch):
    monkeypatch.setattr(progress, "MINUTE", 0.0)
    with pytest.raises(KeyboardInterrupt), steps(4, "decoding", "images") as advance:
        advance(1)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "decoding: 1 of 4 images after 1 s\n"


# -- elsewhere


def test_a_terminal_has_one_line_that_is_kept_up_to_date(monkeypatch):
    parent, child = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    seen = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(parent, 4096):
                seen.append(part)

    threading.Thread(target=read, daemon=True).start()
    with os.fdopen(child, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with Board(["a", "b"], "notebooks", {"a": 3.0, "b": 30.0}) as board:
            board.start("a")
            time.sleep(2.5)
            board.end("a", "smoke  3 s")
            time.sleep(1.5)
        monkeypatch.undo()
    text = b"".join(seen).decode()
    assert "started" not in text and "a  smoke  3 s" in text
    assert "0 of 2 notebooks; running a" in text and "1 of 2 notebooks" in text


def test_a_notebook_says_nothing(capsys, monkeypatch):
    monkeypatch.setattr(progress, "is_notebook", lambda: True)
    with Board(["a"], "runs") as board:
        board.start("a")
        board.end("a", "ran")
    with steps(1, "decoding", "images") as advance:
        advance(1)
    assert capsys.readouterr().err == ""


def test_a_kernel_is_a_notebook_and_this_process_is_not(monkeypatch):
    assert not progress.is_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())  # another thread is importing it
    assert not progress.is_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))
    assert progress.is_notebook()


def test_a_beat_touches_the_file_of_who_listens(tmp_path, monkeypatch):
    monkeypatch.delenv(HEARTBEAT, raising=False)
    beat()  # nobody listens
    heart = tmp_path / "heart"
    monkeypatch.setenv(HEARTBEAT, str(heart))
    beat()
    before = heart.stat().st_mtime_ns
    time.sleep(0.02)
    beat()
    assert heart.stat().st_mtime_ns > before
    monkeypatch.setenv(HEARTBEAT, str(tmp_path / "gone" / "heart"))
    beat()  # the listener has ended
