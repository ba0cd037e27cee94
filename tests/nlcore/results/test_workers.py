"""The processes of a sweep end with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlcore.training.checkpoint import read


def wait_until(condition, seconds: float) -> None:
    """Look again and again; fail when time is up."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    """Processes that a process has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    """Whether a process still does something; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_sweep_leaves_no_worker_behind_and_goes_on_where_it_was(tmp_path):
    (tmp_path / "grid.yml").write_text("settings: {subset: 400, epochs: 5000, threads: 1}\ncells: [{method: ce}]")
    command = [sys.executable, "-m", "nlcore", "sweep", tmp_path / "grid.yml", "--out", tmp_path / "out"]
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: list((tmp_path / "out").glob("*.partial.json")), 120)  # its first epoch is over
    workers = set(children(sweep.pid))
    sweep.kill()
    sweep.wait()
    assert workers
    wait_until(lambda: not any(map(running, workers)), 120)
    (checkpoint,) = (tmp_path / "out").glob(".unfinished/*/checkpoint.pt")
    done = len(read(checkpoint)["history"])
    again = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    (partial,) = (tmp_path / "out").glob("*.partial.json")
    wait_until(lambda: len(json.loads(partial.read_text())["history"]) > done, 120)
    for pid in children(again.pid):
        os.kill(pid, signal.SIGTERM)
    said, _ = again.communicate()
    assert again.returncode == 75 and "paused" in said
    assert len(read(checkpoint)["history"]) > done >= 1
