"""Two processes on the CPU, started as a user would start them; the rest in this one."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from nlcore import InputError, TrainConfig, train
from nlcore.basics.errors import Paused
from nlcore.training import distributed
from nlcore.training.checkpoint import NAME, read

SETTINGS = {"subset": 301, "epochs": 3, "warmup_epochs": 1, "method": "tssd", "networks": 2}
TRAIN = "train --subset 301 --epochs 3 --warmup-epochs 1 --method tssd --networks 2 --set device=cpu".split()

# The command line as it is, but for notes of what each process does: its weights and divisions, and the files that it
# puts into place. Small parts make both processes look at some of the images.
WORKER = """
import os, sys
from pathlib import Path
import torch
from nlcore import cli
from nlcore.training import distributed, observe
notes = Path(sys.argv.pop(1)) / os.environ["RANK"]
replace, train = os.replace, cli.train
observe.OBSERVE_BATCH = 50
written = []

def noted_replace(source, target):
    written.append(Path(target).name)
    replace(source, target)

def noted_train(config, data, advance, out, time_budget):
    seen = {"world": [], "seen": [], "steps": []}
    def on_epoch(epoch):
        state = epoch.state
        seen["world"].append((distributed.rank(), distributed.size(), len(distributed.mine(7))))
        seen["weights"] = [learner.student.state_dict() for learner in state.learners]
        seen["parameters"] = [list(learner.student.parameters()) for learner in state.learners]
        seen["averages"] = [list(learner.teacher.parameters()) for learner in state.learners]
        seen["steps"].append(state.learners[0].step)
        seen["generator"] = state.generator.get_state()
        seen["membership"] = epoch.division.membership
        seen["row"] = {key: value for key, value in epoch.row.items() if key != "seconds"}
        advance(epoch)
    result = train(config, data, on_epoch, out, time_budget)
    torch.save(seen | {"history": result.history}, f"{notes}.pt")
    return result

os.replace, cli.train = noted_replace, noted_train
try:
    cli.main()
finally:
    Path(f"{notes}.txt").write_text("\\n".join(written))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A warm-up in one process, from which one and two processes go on."""
    folder = tmp_path_factory.mktemp("distributed")
    config = TrainConfig(device="cpu", **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nlcore.training.observe.OBSERVE_BATCH", 50)
        with pytest.raises(Paused):
            train(config, folder=folder / "one", time_budget=0)
        shutil.copytree(folder / "one", folder / "two")
        one = train(config, folder=folder / "one")
    (folder / "worker.py").write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.run(
        [*launch, str(folder / "worker.py"), str(folder), *TRAIN, "--out", str(folder / "two")],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    written = [(folder / f"{rank}.txt").read_text().split() for rank in (0, 1)]
    return SimpleNamespace(folder=folder, one=one, ranks=ranks, written=written, process=process)


def test_two_processes_share_the_work(runs):
    assert [rank["world"] for rank in runs.ranks] == [[(0, 2, 4)] * 2, [(1, 2, 3)] * 2]
    assert runs.ranks[0]["steps"] == runs.ranks[1]["steps"] == [2 * 9, 3 * 9]  # as many steps as in one process
    assert read(runs.folder / "one" / NAME)["learners"][0]["step"] == 3 * 9


def test_two_processes_divide_as_one_does(runs):
    """Of the first epoch after the same warm-up. What they learn then differs: each sees half of every batch."""
    two = runs.ranks[0]["history"]
    for name in ("sets", "labelled", "meta_auc", "second"):
        assert repr(two[1][name]) == repr(runs.one.history[1][name])
    assert two[0] == runs.one.history[0] and two[1]["train_loss"] != runs.one.history[1]["train_loss"]


def test_both_processes_have_the_same_weights_divisions_draws_and_history(runs):
    first, second = runs.ranks
    for name in ("parameters", "averages"):
        for a, b in zip(first[name], second[name], strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert torch.equal(first["membership"], second["membership"])
    assert torch.equal(first["generator"], second["generator"])
    assert repr(first["row"]) == repr(second["row"])


def test_the_checkpoint_is_that_of_both(runs):
    stored = read(runs.folder / "two" / NAME)["learners"]
    for learner, weights in zip(stored, runs.ranks[0]["weights"], strict=True):
        assert all(torch.equal(a, weights[name]) for name, a in learner["student"].items())


def test_every_file_is_written_by_the_first_process_alone(runs):
    first, second = runs.written
    assert second == []
    assert first.count("samples.csv") == first.count("result.json") == 1 and first.count(NAME) == 1
    assert runs.process.stdout.count("best ") == 1


def test_two_processes_learn_as_well_as_one(runs):
    assert runs.ranks[0]["history"][-1]["test_accuracy"] == pytest.approx(runs.one.last, abs=15)
    assert runs.one.last > 40


# -- in one process


def test_a_cuda_device_that_is_not_there_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distributed.device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="no device cuda:2 here: 2 CUDA devices"):
        distributed.device("cuda:2")


@pytest.mark.parametrize(("name", "made_current"), [("cpu", []), ("cuda", []), ("cuda:1", ["cuda:1"])])
def test_a_gpu_that_is_named_by_its_number_is_made_the_current_one(monkeypatch, name, made_current):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(str(device)))
    distributed.make_current(torch.device(name))
    assert chosen == made_current


def test_without_torchrun_there_is_one_process_and_nothing_changes(rng):
    rows, values = torch.arange(5), torch.rand(3, generator=rng)
    before = values.clone()
    with distributed.joined():
        assert (distributed.size(), distributed.rank(), distributed.from_torchrun()) == (1, 0, 0)
        assert distributed.own(rows) is rows or torch.equal(distributed.own(rows), rows)
        assert list(distributed.mine(3)) == [0, 1, 2]
        distributed.add_up(values), distributed.agree(values)
        assert distributed.any_process(True) is True and distributed.any_process(False) is False
        network = torch.nn.Linear(2, 2)
        assert distributed.wrap(network) is network
    assert torch.equal(values, before)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RANK": "1"}, "RANK=1, no WORLD_SIZE"),
        ({"WORLD_SIZE": "2"}, "no RANK, WORLD_SIZE=2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "no LOCAL_RANK, no MASTER_ADDR, no MASTER_PORT"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2, WORLD_SIZE=2"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK=first"),
        ({"WORLD_SIZE": ""}, "no RANK, WORLD_SIZE="),
    ],
    ids=str,
)
def test_a_part_of_what_torchrun_sets_is_refused_before_anything_is_loaded(monkeypatch, tmp_path, variables, words):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("nlcore.training.run.load_dataset", None)
    for use in (distributed.from_torchrun, lambda: train(TrainConfig(), folder=tmp_path)):
        with pytest.raises(InputError, match=words) as error:
            use()
        assert "unset RANK and WORLD_SIZE" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("variables", [{}, {"WORLD_SIZE": "1"}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_one_process_is_one_whoever_says_so(monkeypatch, variables):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with distributed.joined():
        assert (distributed.from_torchrun(), distributed.size()) == (0, 1)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("n", [0, 1, 8, 11])
def test_the_parts_of_a_batch_are_equal_and_share_nothing(size, n, monkeypatch):
    rows, parts = torch.arange(100, 100 + n), []
    monkeypatch.setattr(distributed, "size", lambda: size)
    for rank in range(size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(distributed.own(rows).tolist())
    assert {len(part) for part in parts} == {n // size}
    together = sorted(row for part in parts for row in part)
    assert together == rows[: n // size * size].tolist()


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_every_part_of_some_work_is_done_by_one_process(size, n, monkeypatch):
    done = []
    monkeypatch.setattr(distributed, "size", lambda: size)
    for rank in range(size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        done += distributed.mine(n)
    assert sorted(done) == list(range(n))
