"""A method is one file, whatever it changes: made-up ones that bring a loss, an epoch and heads of their own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from nlcore import TrainConfig, train
from nlcore.basics.errors import InputError
from nlcore.methods import METHODS, brings
from nlcore.training.checkpoint import NAME, read
from nlcore.training.engine import run
from nlcore.training.observe import observe
from nlcore.training.presets import sources
from nlcore.training.run import prepare

# Each is the text of a whole file, as a user would write it: nothing of the package is changed for it.
TOYS = {
    # A loss with a memory of every sample, as early-learning regularisation has it, and a division that only judges.
    "loss": """
        from dataclasses import dataclass
        import torch
        import torch.nn.functional as F
        from nlcore.selection.division import Division

        TITLE, SETS, LABELLED = "Toy loss", ("all",), ("all",)

        @dataclass(frozen=True)
        class Config:
            beta: float = 0.7
            weight: float = 1.0

        PRESETS = {"tuned": Config(), "paper": Config(weight=3.0)}

        def recipe(config):
            return (({"weight_decay": 1e-3, "weight": 2.0, "warmup": 0.0}, "a made-up paper"),)

        def batch_loss(batch, settings, memory):
            probs = batch.logits.softmax(1)
            if "targets" not in memory:
                memory["targets"] = probs.new_zeros(batch.full_size, probs.shape[1])
                memory["batches"] = 0
            memory["batches"] += 1
            old = memory["targets"][batch.index]
            target = settings.beta * old + (1 - settings.beta) * probs.detach()
            memory["targets"][batch.index] = target
            agreement = (target * probs).sum(1)
            return F.cross_entropy(batch.logits, batch.labels) + settings.weight * (1 - agreement).log().mean()

        def divide(snapshot, given_labels, classify, settings, memory, generator):
            ones, everything = torch.ones_like(snapshot.losses), torch.ones_like(given_labels, dtype=torch.bool)
            clean = snapshot.probs.gather(1, given_labels[:, None]).squeeze(1)
            return Division(SETS, torch.zeros_like(given_labels), everything, given_labels, ones, clean), {}
    """,
    # An epoch of its own for two networks, each of which chooses small losses for the other; heads, and a memory.
    "epoch": """
        from dataclasses import dataclass
        import torch
        import torch.nn.functional as F
        from torch import nn

        TITLE = "Toy epoch"

        @dataclass(frozen=True)
        class Config:
            keep: float = 0.8

        PRESETS = {"tuned": Config(), "paper": Config(keep=0.5)}

        def recipe(config):
            return (({"networks": 2}, "a made-up paper"),)

        def extra_heads(in_features, num_classes, settings):
            return {"other": nn.Sequential(nn.Linear(in_features, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes))}

        def own_epoch(steps, divisions, settings):
            state = steps.state
            rows = torch.arange(len(state.images), device=state.images.device)
            count = steps.count(len(rows))
            total = torch.zeros((), device=rows.device)
            for batch in steps.batches(rows, count):
                views, labels = steps.weak(batch), state.given_labels[batch]
                losses = []
                for learner in state.learners:
                    learner.student.train()
                    with steps.precision():
                        logits, _, heads = learner.trainee(views, with_heads=True)
                    losses.append(F.cross_entropy(logits + heads["other"], labels, reduction="none"))
                for k, learner in enumerate(state.learners):
                    kept = losses[k - 1].detach().argsort()[: int(settings.keep * len(batch))]
                    chosen = learner.memory.setdefault("chosen", torch.zeros(len(rows), dtype=torch.int64))
                    chosen[batch[kept]] += 1
                    total += steps.update(learner, losses[k][kept].mean())
            return steps.mean_loss(total, count * len(state.learners))
    """,
    # Heads that learn in the warm-up and from mixed batches, and a second look before every division.
    "heads": """
        from dataclasses import dataclass, replace
        import torch
        import torch.nn.functional as F
        from torch import nn
        from nlcore.selection.division import Division

        TITLE, SETS, LABELLED = "Toy heads", ("in", "out"), ("in",)

        @dataclass(frozen=True)
        class Config:
            weight: float = 1.0

        PRESETS = {"tuned": Config(), "paper": Config()}

        def extra_heads(in_features, num_classes, settings):
            return {"other": nn.Linear(in_features, num_classes)}

        def warmup_loss(batch, settings):
            return settings.weight * F.cross_entropy(batch.heads["other"], batch.labels)

        def look(steps, learner, snapshot, settings):
            with torch.no_grad():
                again = learner.student.eval()(steps.plain(torch.arange(len(steps.state.images))))[0]
            return replace(snapshot, heads=snapshot.heads | {"again": again})

        def divide(snapshot, given_labels, classify, settings, memory, generator):
            agreed = snapshot.heads["again"].argmax(1) == snapshot.heads["other"].argmax(1)
            ones = torch.ones_like(snapshot.losses)
            report = {"seen": snapshot.heads["again"], "other": snapshot.heads["other"], "features": snapshot.features}
            return Division(SETS, (~agreed).long(), agreed, given_labels, ones, agreed.float()), report

        def mixed_step(steps, learner, mixed, settings):
            learner.memory["batches"] = learner.memory.get("batches", 0) + 1
            with steps.precision():
                logits, _, heads = learner.trainee(mixed.inputs, with_heads=True)
                loss = mixed.loss(logits) + settings.weight * mixed.loss(heads["other"])
            return steps.update(learner, loss)
    """,
    "nothing": """
        from dataclasses import dataclass
        TITLE = "Toy"

        @dataclass(frozen=True)
        class Config:
            pass

        PRESETS = {"tuned": Config(), "paper": Config()}
    """,
}


def load(name: str, folder: Path):
    """A toy as a module, from a file."""
    path = folder / f"toy_{name}.py"
    path.write_text(textwrap.dedent(TOYS[name]))
    sys.path.insert(0, str(folder))
    try:
        return __import__(path.stem)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(path.stem, None)


@pytest.fixture(scope="module", autouse=True)
def toys(tmp_path_factory):
    """The made-up methods, registered as `toy_loss`, `toy_epoch`, `toy_heads` and `toy_nothing`."""
    folder = tmp_path_factory.mktemp("toys")
    with pytest.MonkeyPatch.context() as patch:
        for name in TOYS:
            patch.setitem(METHODS, f"toy_{name}", load(name, folder))
        yield folder


def small(method: str, **changes) -> TrainConfig:
    """200 digits; no warm-up unless the method has one."""
    return TrainConfig(**{"method": method, "subset": 200, "epochs": 4, "device": "cpu"} | changes)


def without_clock(values: dict) -> dict:
    history = [{key: value for key, value in row.items() if key != "seconds"} for row in values["history"]]
    return values | {"history": history, "seconds": None}


SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from nlcore import TrainConfig, train
from nlcore.methods import METHODS
from nlcore.training import run
run.KEEP_EVERY = 0.0
METHODS[sys.argv[2]] = __import__(sys.argv[2])
config = TrainConfig(method=sys.argv[2], subset=200, epochs=4, device="cpu")

def die(epoch):
    if epoch.row["epoch"] == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

train(config, folder=sys.argv[3], on_epoch=die)
"""


@pytest.mark.parametrize("method", ["toy_loss", "toy_epoch", "toy_heads"])
def test_a_made_up_method_that_is_killed_goes_on_bit_for_bit(method, toys, tmp_path, same):
    train(small(method), folder=tmp_path / "whole")
    for last, code in ((2, -signal.SIGKILL), (0, 0)):
        command = [sys.executable, "-c", SCRIPT, str(toys), method, str(tmp_path / "parts"), str(last)]
        done = subprocess.run(command, cwd=Path(__file__).parents[3], env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == code
        assert len(read(tmp_path / "parts" / NAME)["history"]) == (last or 4)
    whole, parts = (without_clock(read(tmp_path / name / NAME)) for name in ("whole", "parts"))
    assert same(whole, parts)
    assert whole["learners"][0]["memory"]


def test_a_loss_of_its_own_is_what_an_epoch_minimises_and_remembers_every_sample(toys):
    config = small("toy_loss").resolved()
    *_, last = run(config, *prepare(config))
    memory = last.state.learners[0].memory
    assert memory["batches"] == last.state.learners[0].step == 4 * round(200 / 32)
    seen = memory["targets"][last.state.index]
    assert bool((seen.sum(1) > 0).all()) and float(memory["targets"].sum()) == pytest.approx(float(seen.sum()))
    assert [row["phase"] for row in train(small("toy_loss")).history] == ["ssl"] * 4
    plain = train(small("ce", weight_decay=1e-3))
    assert plain.history[0]["train_loss"] != train(small("toy_loss")).history[0]["train_loss"]


def test_the_labels_that_a_dividing_loss_learns_are_those_of_its_division(toys, monkeypatch):
    method, seen = METHODS["toy_loss"], []
    divide, batch_loss = method.divide, method.batch_loss

    def half(snapshot, given_labels, *rest):
        division, report = divide(snapshot, given_labels, *rest)
        labelled = torch.arange(len(given_labels)) % 2 == 0
        changed = {"labelled": labelled, "target": (given_labels + 1) % 10}
        return type(division)(**vars(division) | changed), report

    monkeypatch.setattr(method, "divide", half)
    monkeypatch.setattr(method, "batch_loss", lambda batch, *rest: seen.append(batch) or batch_loss(batch, *rest))
    config = small("toy_loss", epochs=1).resolved()
    data, noisy = prepare(config)
    list(run(config, data, noisy))
    for batch in seen:
        rows = torch.searchsorted(data.train_index, batch.index)
        assert bool((rows % 2 == 0).all()) and torch.equal(batch.labels, (noisy.given_labels[rows] + 1) % 10)


def test_an_epoch_of_its_own_trains_all_its_networks_and_their_heads(toys):
    config = small("toy_epoch").resolved()
    assert config.networks == 2 and config.warmup_epochs == 0
    *_, last = run(config, *prepare(config))
    assert last.row["phase"] == "own" and last.division is None
    for learner in last.state.learners:
        assert learner.step == 4 * round(200 / 32)
        assert int(learner.memory["chosen"].sum()) == 4 * round(200 / 32) * int(0.8 * 32)
        assert learner.student.heads["other"][0].weight.grad is not None
        assert not torch.equal(learner.teacher.heads["other"][0].weight, learner.student.heads["other"][0].weight)
        assert float(learner.teacher.heads["other"][1].running_mean.abs().sum()) > 0  # measured again, as the others
    first, second = (learner.student.heads["other"][0].weight for learner in last.state.learners)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("network", ["digits_small", "digits_cnn"])
def test_heads_may_join_in_after_a_warm_up_that_left_them_alone(network, toys):
    config = small("toy_epoch", warmup_epochs=2, network=network).resolved()
    heads = []
    for epoch in run(config, *prepare(config)):
        heads.append(epoch.state.student.heads["other"][0].weight.clone())
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[1], heads[2])


def test_momenta_of_zero_to_start_with_change_no_number(toys):
    torch.manual_seed(0)
    start, steps = torch.randn(5), torch.randn(4, 5)
    found = []
    for zeros in (False, True):
        weight = torch.nn.Parameter(start.clone())
        optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True, fused=True)
        if zeros:
            optimiser.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        for step in steps:
            weight.grad = step.clone()
            optimiser.step()
        found.append(weight.detach())
    assert torch.equal(*found)


def test_extra_heads_learn_in_the_warm_up_and_a_snapshot_has_their_outputs(toys):
    moved = {}
    for weight in (0.0, 1.0):
        settings = METHODS["toy_heads"].Config(weight)
        config = small("toy_heads", settings=settings, warmup_epochs=3, weight_decay=0.0, rate=0.0).resolved()
        state = [epoch.state for epoch in run(config, *prepare(config)) if epoch.row["phase"] == "warmup"][-1]
        moved[weight] = float((observe(state).heads["other"].argmax(1) == state.given_labels).float().mean())
    assert moved[1.0] > moved[0.0] + 0.3


def test_a_method_looks_again_before_it_divides_and_learns_mixed_batches_its_own_way(toys, monkeypatch):
    config = small("toy_heads", warmup_epochs=2).resolved()
    *_, last = run(config, *prepare(config))
    state, report = last.state, last.report
    assert state.learners[0].memory["batches"] == state.learners[0].step - 2 * 6 == 2 * 6
    assert report["seen"].shape == (200, 10) and not torch.equal(report["seen"], last.snapshot.logits)
    assert last.row["sets"]["in"]["size"] == int((report["seen"].argmax(1) == report["other"].argmax(1)).sum())
    heads = [learner.student.heads["other"].weight.grad for learner in state.learners]
    assert all(bool(grad.abs().sum() > 0) for grad in heads)
    monkeypatch.setattr("nlcore.training.observe.OBSERVE_BATCH", 64)
    snapshot = observe(state)
    other = state.teacher.heads["other"](snapshot.features)
    torch.testing.assert_close(snapshot.heads["other"], other.detach(), atol=1e-5, rtol=1e-4)


def test_a_method_that_divides_nothing_believes_every_label_at_the_end(toys):
    for method in ("toy_epoch", "toy_nothing", "ce"):
        samples = train(small(method, epochs=1)).samples
        assert set(samples["set"]) == {"labelled"} and samples["corrected_label"] == samples["given_label"]
        assert set(samples["clean_prob"]) == {1.0}


def test_a_method_that_brings_nothing_is_cross_entropy(toys):
    assert not brings("toy_nothing", "divide", "batch_loss", "own_epoch")
    rows = [[row["train_loss"] for row in train(small(method)).history] for method in ("toy_nothing", "ce")]
    assert rows[0] == rows[1]
    assert small("toy_nothing").resolved().warmup_epochs == 4


def test_what_a_method_asks_for_is_filled_in_and_can_be_overruled(toys):
    config = small("toy_loss").resolved()
    assert config.weight_decay == 1e-3 and config.settings.weight == 2.0 and config.settings.beta == 0.7
    assert sources(small("toy_loss"))[-1] == ({"weight_decay": 1e-3, "weight": 2.0, "warmup": 0.0}, "a made-up paper")
    assert small("toy_loss", weight_decay=0.0).resolved().weight_decay == 0.0
    assert config.warmup_epochs == small("toy_loss", epochs=None, budget="long").resolved().warmup_epochs == 0
    assert small("toy_loss", warmup_epochs=2).resolved().warmup_epochs == 2
    with pytest.raises(InputError, match="needs settings of type Config"):
        small("toy_loss", settings=METHODS["tssd"].PRESETS["tuned"]).resolved()


def test_heads_change_nothing_for_who_has_none(toys):
    config = small("tssd", epochs=1, warmup_epochs=0).resolved()
    state = next(run(config, *prepare(config))).state
    assert len(state.student.heads) == 0 and not any("heads" in name for name in state.student.state_dict())
    assert observe(state).features.shape == (200, state.student.classifier.in_features)
