"""benchmark/gpu.sh on the CPU: one call that is stopped, one that goes on, one without time, one without data."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nlcore.results.grids import read_grid

ROOT = Path(__file__).parents[2]
GRID = """
settings: {subset: 100, batch_size: 50, device: cpu, threads: 1, method: ce}
cells: [{epochs: 2}, {epochs: 150}]
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def start(folder: Path, **changes: object) -> subprocess.Popen:
    """A call of the script that writes into a folder; what it says is in `said.txt` there."""
    here = {"GRID": folder / "grid.yml", "WORK": folder / "work", "NLCORE_DATA": folder / "data", "JOBS": 1}
    here |= {"PYTHON": sys.executable, "DEVICE": "cpu", "SMOKE": "ce:tuned ce:none", "SMOKE_SECONDS": 200}
    here |= {"SECONDS_LEFT": 900, "PACK_EVERY": 1} | changes
    environment = os.environ | {name: str(value) for name, value in here.items()}
    with open(folder / "said.txt", "w") as said:
        return subprocess.Popen(["bash", ROOT / "benchmark" / "gpu.sh"], stdout=said, stderr=said, env=environment)


def finish(folder: Path, call: subprocess.Popen) -> tuple[int, str]:
    """The status that a call ends with, and what it has said."""
    return call.wait(timeout=600), (folder / "said.txt").read_text()


def wait_until(condition, seconds: float = 120):
    """Look again and again for something; fail when time is up."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def workers(pid: int) -> list[int]:
    """The processes below one that run cells."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return own + [worker for child in children for worker in workers(int(child))]


def packed(folder: Path) -> set[str]:
    """Names in the archive, without the results that are stored in the project."""
    with tarfile.open(folder / "out" / "gpu.tar.gz") as archive:
        return set(archive.getnames()) - {path.name for path in (ROOT / "results" / "gpu").glob("*.json")}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """A call whose second cell is stopped in the middle, and a second call."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "out").mkdir()
    (folder / "grid.yml").write_text(GRID)
    short, long = read_grid(folder / "grid.yml")
    work, found = folder / "work", SimpleNamespace(folder=folder, short=short, long=long)
    call = start(folder, OUT=folder / "out")
    wait_until(lambda: (work / f"{long}.partial.json").exists())
    for worker in workers(call.pid):
        os.kill(worker, signal.SIGTERM)
    wait_until(lambda: (folder / "out" / "gpu.tar.gz").exists())
    found.packed_meanwhile = call.poll() is None
    found.first, found.packed = finish(folder, call), packed(folder)
    found.partial = json.loads((work / f"{long}.partial.json").read_text())
    found.second = finish(folder, start(folder, OUT=folder / "out"))
    found.packed_again = packed(folder)
    found.result = json.loads((work / f"{long}.json").read_text())
    return found


def test_the_smoke_test_has_a_line_for_each_method_also_for_one_that_fails(calls):
    status, said = calls.first
    assert status == 0 and "\nok ce:tuned\n" in f"\n{said}" and "smoke test: " in said
    assert "FAILED ce:none: nlcore: error: unknown preset 'none'" in said


def test_a_cell_that_is_stopped_leaves_its_history_and_the_call_says_that_more_is_left(calls):
    status, said = calls.first
    assert status == 0 and f"[1/2] ran {calls.short}\n" in said
    assert f"[2/2] paused {calls.long}: stopped after epoch {len(calls.partial['history'])} of 150" in said
    assert "1 of 2 cells are not finished" in said


def test_the_archive_holds_results_histories_logs_and_the_table_and_no_checkpoint(calls):
    wanted = {f"{calls.short}.json", f"{calls.long}.partial.json", "table.md", "smoke.txt", "sweep.log"}
    assert calls.packed == wanted | {"smoke_ce-tuned.log", "smoke_ce-none.log"} and calls.packed_meanwhile
    assert [path.name for path in (calls.folder / "out").iterdir()] == ["gpu.tar.gz"]
    assert calls.packed_again == calls.packed - {f"{calls.long}.partial.json"} | {f"{calls.long}.json"}


def test_a_second_call_goes_on_inside_the_cell_and_tests_nothing_again(calls):
    status, said = calls.second
    assert status == 0 and "smoke" not in said
    assert f"[1/2] kept {calls.short}\n" in said and f"[2/2] ran {calls.long}\n" in said
    done = calls.partial["history"]
    assert 0 < len(done) < len(calls.result["history"]) == 150
    assert calls.result["history"][: len(done)] == done  # to the second: they were not trained again


def test_without_time_no_cell_begins(calls):
    """A Python that does nothing: it has nothing to do."""
    status, said = finish(calls.folder, start(calls.folder, SECONDS_LEFT=0, PYTHON="true", OUT=calls.folder / "out"))
    assert status == 0 and said == "no time left for a cell\n" and packed(calls.folder) == calls.packed_again


def test_a_sweep_that_fails_ends_the_call_with_its_status_and_is_in_the_archive_all_the_same(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "python").write_text('#!/bin/sh\ncase "$3" in sweep) echo "cell x cannot be run"; exit 2;; esac\n')
    (tmp_path / "python").chmod(0o755)
    status, said = finish(tmp_path, start(tmp_path, PYTHON=tmp_path / "python", SMOKE="", OUT=tmp_path / "out"))
    assert status == 1 and said == "cell x cannot be run\n" and packed(tmp_path) == {"sweep.log"}


def test_a_smoke_test_that_hangs_is_ended(tmp_path):
    (tmp_path / "python").write_text('#!/bin/sh\ncase "$3" in train) echo "begun"; exec sleep 60;; esac\n')
    (tmp_path / "python").chmod(0o755)
    status, said = finish(tmp_path, start(tmp_path, PYTHON=tmp_path / "python", SMOKE="ce:tuned", SMOKE_SECONDS=0.1))
    assert status == 0 and "FAILED ce:tuned: begun" in said


def test_without_the_data_nothing_begins(tmp_path):
    """Not even the smoke test; all that is missing stands in one line."""
    grid = "settings: {dataset: cifar10, device: cpu}\ncells: [{noise: symmetric:0.5}, {noise: human:worst}]"
    (tmp_path / "grid.yml").write_text(grid)
    status, said = finish(tmp_path, start(tmp_path))
    assert status == 1 and said.startswith(
        f"error: cifar10.npz is not in {tmp_path / 'data'}; label file CIFAR-10_human"
    )
    assert said.count("\n") == 1 and not (tmp_path / "work").exists()
