"""The grid runner: what it runs again, what it leaves alone, and what its tables say."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from nlcore import DivergenceError, InputError, TrainConfig
from nlcore.basics.errors import NotBegun, Paused
from nlcore.basics.progress import REUSE
from nlcore.results.cells import by_name, cell_name
from nlcore.results.sweep import is_stored, run_all, run_cell, run_grid

TINY = TrainConfig(method="ce", rate=0.2, subset=100, epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with one finished cell: `TINY`."""
    folder = tmp_path_factory.mktemp("grid")
    run_cell(TINY, folder)
    return folder


@pytest.fixture
def stored(folder, tmp_path) -> Path:
    """The path of that cell in a folder of the test's own."""
    path = tmp_path / f"{cell_name(TINY)}.json"
    path.write_bytes((folder / path.name).read_bytes())
    return path


def results(folder: Path) -> list[str]:
    """Names of the files that can be seen in a folder."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_stored_cell_is_not_run_again(stored):
    before = stored.stat()
    assert run_cell(TINY, stored.parent) == "kept"
    assert (stored.stat().st_mtime_ns, stored.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_only_missing_cells_run(stored):
    before = stored.stat().st_mtime_ns
    frame = run_grid([TINY, replace(TINY, seed=1), TINY], stored.parent, workers=2)
    assert frame["seed"].tolist() == [0, 1]
    assert results(stored.parent) == sorted(Path(path).name for path in frame["path"])
    assert stored.stat().st_mtime_ns == before


def test_result_of_other_code_is_run_again(stored):
    values = json.loads(stored.read_text())
    values["environment"]["code"] = "0" * 12
    stored.write_text(json.dumps(values))
    assert not is_stored(TINY, stored.parent) and is_stored(TINY, stored.parent, any_code=True)
    assert run_cell(TINY, stored.parent, any_code=True) == "kept"
    assert run_cell(TINY, stored.parent) == "ran"
    again = json.loads(stored.read_text())
    assert is_stored(TINY, stored.parent)
    assert again["last"] == values["last"]


def test_result_of_another_config_is_run_again(stored):
    values = json.loads(stored.read_text())
    values["config"]["learning_rate"] = 0.001
    stored.write_text(json.dumps(values))
    assert not is_stored(TINY, stored.parent)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"config": {}}'])
def test_damaged_cell_is_run_again(stored, text):
    stored.write_text(text)
    assert not is_stored(TINY, stored.parent)


def test_damaged_foreign_file_is_left_out_and_named(stored, caplog):
    (stored.parent / "other.json").write_text("{")
    assert len(run_grid([TINY], stored.parent)) == 1
    assert "other.json is not a result file" in caplog.text


def test_rows_come_in_the_order_of_the_grid_and_of_the_grid_alone(stored):
    (stored.parent / "deeper").mkdir()
    (stored.parent / "deeper" / stored.name).write_bytes(stored.read_bytes())
    values = json.loads(stored.read_text())
    other = replace(TINY, seed=7)
    values["config"] = other.resolved().to_dict()
    (stored.parent / f"{cell_name(other)}.json").write_text(json.dumps(values))
    assert run_grid([other, TINY], stored.parent)["seed"].tolist() == [7, 0]
    assert run_grid([TINY], stored.parent)["seed"].tolist() == [0]


def test_a_grid_tells_which_of_its_runs_were_only_read(stored, tmp_path, monkeypatch):
    monkeypatch.setenv(REUSE, str(tmp_path / "reuse"))
    run_all({cell_name(TINY): TINY}, stored.parent, 1)
    assert float((tmp_path / "reuse").read_text()) == stored.stat().st_mtime


def test_failing_cells_are_named_and_the_others_kept(tmp_path):
    broken = replace(TINY, seed=5, learning_rate=1e30)
    with pytest.raises(RuntimeError, match="1 of 2 cells failed") as error:
        run_grid([broken, TINY], tmp_path, workers=2)
    assert f"{cell_name(broken)}: the loss became" in str(error.value)
    assert "\n" not in str(error.value)
    assert is_stored(TINY, tmp_path)
    assert results(tmp_path) == [f"{cell_name(TINY)}.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": "file:none.npy"}, "label file none.npy was not found"),
        ({"noise": "mixed", "noise_options": {"first": "file:none.npy"}}, "label file none.npy was not found"),
        ({"noise": "human:worst"}, "unknown dataset with human labels 'digits'"),
        ({"dataset": "mnist"}, "unknown dataset 'mnist'"),
        ({"device": "cuda:99"}, "CUDA device"),
    ],
    ids=str,
)
def test_every_cell_is_looked_at_before_the_first_one_starts(tmp_path, changes, message):
    broken = replace(TINY, seed=5, **changes)
    with pytest.raises(InputError, match=message) as error:
        run_all(by_name([TINY, broken]), tmp_path, 1)
    assert cell_name(broken) in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_cell_that_is_stored_needs_no_label_file_any_more(stored):
    config = replace(TINY, noise="file:none.npy")
    values = json.loads(stored.read_text())
    values["config"] = config.resolved().to_dict()
    (stored.parent / f"{cell_name(config)}.json").write_text(json.dumps(values))
    (outcome,) = run_all(by_name([config]), stored.parent, 1)
    assert outcome.status == "kept"


def test_failures_that_the_user_can_mend_are_an_input_error(tmp_path):
    with pytest.raises(InputError, match="rate must lie in"):
        run_grid([replace(TINY, rate=1.5)], tmp_path)


def test_a_cell_that_was_stopped_goes_on_and_cleans_up(tmp_path):
    with pytest.raises(Paused, match="after epoch 1 of 2"):
        run_cell(TINY, tmp_path, deadline=time.time() + 0.05)
    assert results(tmp_path) == [f"{cell_name(TINY)}.partial.json"]
    assert run_cell(TINY, tmp_path) == "ran"
    assert results(tmp_path) == [f"{cell_name(TINY)}.json"]
    assert [path.suffix for path in (tmp_path / ".unfinished").iterdir()] == [".lock"]


def test_no_cell_begins_after_the_deadline_and_nothing_is_written(tmp_path):
    with pytest.raises(NotBegun, match="no time left"):
        run_cell(TINY, tmp_path, deadline=time.time())
    outcomes = run_all(by_name([TINY, replace(TINY, seed=1)]), tmp_path, 1, deadline=time.time())
    assert [outcome.status for outcome in outcomes] == ["not begun", "not begun"]
    assert list(tmp_path.iterdir()) == []


def slow(stored: Path, seconds: float) -> None:
    """Let a stored result say that each of its epochs took so long."""
    values = json.loads(stored.read_text())
    for row in values["history"]:
        row["seconds"] = seconds
    stored.write_text(json.dumps(values))


def test_no_cell_begins_that_cannot_end_by_the_deadline(stored):
    other, folder = replace(TINY, seed=1), stored.parent
    slow(stored, 300.0)
    with pytest.raises(NotBegun, match="no time left to begin: it takes about 10 min"):
        run_cell(other, folder, deadline=time.time() + 500, whole=True)
    assert results(folder) == [stored.name] and not (folder / ".unfinished").exists()
    assert run_cell(other, folder, deadline=time.time() + 700, whole=True) == "ran"


def test_a_cell_that_has_a_checkpoint_goes_on_although_it_cannot_end(stored):
    other = replace(TINY, seed=1)
    slow(stored, 300.0)
    with pytest.raises(Paused, match="after epoch 1 of 2"):
        run_cell(other, stored.parent, deadline=time.time() + 0.05)
    assert run_cell(other, stored.parent, deadline=time.time() + 100, whole=True) == "ran"


def test_a_call_begins_with_cells_of_whatever_length(stored):
    """Else one that is longer than every call would never run."""
    slow(stored, 300.0)
    cells = by_name([TINY, *(replace(TINY, seed=seed) for seed in (1, 2))])
    outcomes = run_all(cells, stored.parent, 1, deadline=time.time() + 60)
    assert [outcome.status for outcome in outcomes] == ["kept", "ran", "not begun"]


def test_who_waits_for_another_process_waits_no_longer_than_the_deadline(tmp_path):
    (tmp_path / ".unfinished").mkdir()
    with FileLock(tmp_path / ".unfinished" / f"{cell_name(TINY)}.lock"), pytest.raises(NotBegun, match="all the while"):
        run_cell(TINY, tmp_path, deadline=time.time() + 0.2)


def test_a_result_says_how_many_cells_shared_the_machine(tmp_path):
    run_all(by_name([TINY, replace(TINY, seed=1)]), tmp_path, 2)
    stored = [json.loads(path.read_text())["environment"] for path in tmp_path.glob("*.json")]
    assert [environment["jobs"] for environment in stored] == ["2", "2"]


def test_a_cell_that_fails_leaves_the_history_that_it_had(tmp_path, monkeypatch):
    def train(config, on_epoch, **_):
        on_epoch(SimpleNamespace(row={"epoch": 1, "seconds": 2.0}, state=SimpleNamespace(config=config)))
        raise DivergenceError("the loss became NaN in epoch 2")

    monkeypatch.setattr("nlcore.results.sweep.train", train)
    with pytest.raises(DivergenceError):
        run_cell(TINY, tmp_path)
    partial = json.loads((tmp_path / f"{cell_name(TINY)}.partial.json").read_text())
    assert partial["history"] == [{"epoch": 1, "seconds": 2.0}]


def test_a_cell_that_another_process_runs_is_left_to_it(tmp_path):
    (tmp_path / ".unfinished").mkdir()
    with FileLock(tmp_path / ".unfinished" / f"{cell_name(TINY)}.lock"):
        assert run_cell(TINY, tmp_path, wait=False) == "elsewhere"
    assert run_cell(TINY, tmp_path, wait=False) == "ran"


def test_two_sweeps_at_once_run_every_cell_exactly_once(tmp_path):
    cells = by_name([replace(TINY, epochs=1, seed=seed) for seed in range(12)])
    told = ([], [])
    sweeps = [
        threading.Thread(target=run_all, args=(cells, tmp_path, 2), kwargs={"on_outcome": told[k].append})
        for k in range(2)
    ]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.join()
    ran = [outcome.name for outcome in (*told[0], *told[1]) if outcome.status == "ran"]
    assert sorted(ran) == sorted(cells)
    assert [len(outcomes) for outcomes in told] == [12, 12]  # each sweep ends when every cell is there
    assert results(tmp_path) == sorted(f"{name}.json" for name in cells)
    assert all(is_stored(config, tmp_path) for config in cells.values())


def test_a_folder_that_cannot_be_written_is_one_line_before_any_cell(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/deeper"):
        with pytest.raises(InputError, match=f"^cannot write into .*{place}: .*") as error:
            run_all(by_name([TINY, replace(TINY, seed=1)]), tmp_path / place, 1)
        assert "\n" not in str(error.value)


def test_empty_grid_and_no_worker_are_refused(tmp_path):
    with pytest.raises(InputError, match="no cell"):
        run_grid([], tmp_path)
    with pytest.raises(InputError, match="runs at the same time must be at least 1"):
        run_grid([TINY], tmp_path, workers=0)


def test_a_cell_of_own_data_that_have_changed_runs_again(tmp_path):
    rows = [f"{n % 5},{'ab'[n % 2]}" for n in range(20)]
    (tmp_path / "my.csv").write_text("\n".join(["v,label", *rows]) + "\n")
    cell = TrainConfig(dataset=f"path:{tmp_path / 'my.csv'}", method="ce", epochs=1, threads=1)
    assert run_cell(cell, tmp_path / "out") == "ran" and run_cell(cell, tmp_path / "out") == "kept"
    (tmp_path / "my.csv").write_text("\n".join(["v,label", *rows[:-2]]) + "\n")
    assert run_cell(cell, tmp_path / "out", any_code=True) == "ran"
