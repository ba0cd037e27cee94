"""tools/statistics.py: times in words, and which of them are stored."""

import json
from pathlib import Path

import nbformat
import pytest
import yaml
from click.testing import CliRunner
from nbformat.v4 import new_notebook

from tools import statistics

PROFILES = {
    "smoke": {"one": {"parameters": {"epochs": 2}}, "two": {"parameters": {}}},
    "full": {"one": {"parameters": {}}, "two": {"parameters": {}}},
}
RECORD = {
    "status": "complete",
    "profile": "smoke",
    "parameters": {"epochs": 2},
    "wall_seconds": 3.14159,
    "peak_memory_mb": 512.5,
    "device": "CPU (4 cores)",
    "code": "0a1b",
}
STORED = {"seconds": 3.1, "memory_mb": 512.5, "device": "CPU (4 cores)", "code": "0a1b"}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (100, "1 min 40 s"), (7500, "2 h 5 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert statistics.duration(seconds) == words


@pytest.mark.parametrize(("megabytes", "words"), [(610.4, "610 MB"), (1234, "1.2 GB"), (None, "unknown")])
def test_sizes_in_words(megabytes: float | None, words: str) -> None:
    assert statistics.memory(megabytes) == words


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the only executed copy of a project is to be."""
    monkeypatch.setattr(statistics, "ROOT", tmp_path)
    for folder in ("book", "notebooks", "_build/executed/notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "notebooks" / "profiles.yml").write_text(yaml.safe_dump(PROFILES, sort_keys=False))
    return tmp_path / "_build" / "executed" / "notebooks" / "one.ipynb"


def execute(copy: Path, **changes: object) -> None:
    nbformat.write(new_notebook(metadata={"nlcore": RECORD | changes}), copy)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(statistics.main, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_copies_are_listed(copy: Path) -> None:
    execute(copy)
    assert run() == "one  3 s  512 MB  smoke  CPU (4 cores)\n"
    assert not statistics.times_file(statistics.ROOT).exists()


def test_a_copy_that_read_kept_runs_has_the_stored_time_or_none() -> None:
    times = {"smoke": {"one": STORED}}
    assert statistics.own_seconds("one", RECORD, times) == 3.14159
    assert statistics.own_seconds("one", RECORD | {"reused": True}, times) == 3.1
    assert statistics.own_seconds("two", RECORD | {"reused": True}, times) is None


def test_times_are_stored_beside_those_of_other_profiles(copy: Path) -> None:
    earlier = {"full": {"one": STORED | {"device": "A GPU"}}, "smoke": {"one": STORED | {"seconds": 9}, "gone": STORED}}
    statistics.times_file(statistics.ROOT).write_text(json.dumps(earlier))
    execute(copy)
    run("--store")
    found = statistics.stored_times(statistics.ROOT)
    assert found == {"smoke": {"one": STORED}, "full": earlier["full"]}
    assert list(found) == ["smoke", "full"]


@pytest.mark.parametrize(
    "changes",
    [{"status": "failed"}, {"parameters": {"epochs": 3}}, {"profile": "huge"}, {"parameters": {}}, {"reused": True}],
    ids=["failed", "other parameters", "unknown profile", "parameters left out", "kept runs"],
)
def test_a_run_that_is_not_its_profiles_is_not_stored(copy: Path, changes: dict) -> None:
    execute(copy, **changes)
    run("--store")
    assert statistics.stored_times(statistics.ROOT) == {"smoke": {}, "full": {}}
