"""Every method on a device that is not the CPU: one that `tests/emulated_device.py` makes of it.

The runs are those of a process of its own: autograd counts the devices at its first use, and a process that has met the
emulated one pins no memory any more. They are as small as they can be: three classes, and few steps an epoch.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from nlcore import Dataset, TrainConfig, load_dataset, train
from nlcore.basics.chance import seeded
from nlcore.basics.errors import Paused
from nlcore.basics.files import KEPT_EPOCHS
from nlcore.methods import METHODS, tssd
from nlcore.training import report
from nlcore.training.config import with_overrides
from nlcore.training.kept import run as run_kept
from nlcore.training.networks import frozen_copy
from nlcore.training.run import prepare
from nlcore.training.steps import Steps, weak_input
from tests import emulated_device

ROOT = Path(__file__).parents[3]
COMBINATIONS = [
    (method, preset, networks)
    for method in METHODS
    for preset in ("tuned", "paper")
    for networks in (1, 2)
    if (method, networks) != ("coteaching", 1)  # refuses one
]
# What takes many steps takes few here.
SHORT = {"tscsi": {"apart_steps": 2}, "tssd": {"meta_passes": 1}, "anchor": {"hallucinator_steps": 2}}
SHORT["anchor"] |= {"correct_from": 0.0, "anchors_per_easy": 1}


def digits(n: int = 180, tested: int = 30) -> Dataset:
    """The first digits 0, 1 and 2, under the name of all, whose recipe they get: 50 a class is what a mixture needs."""
    data = load_dataset("digits")
    rows = (data.train_labels < 3).nonzero().flatten()[: n + tested]
    images, labels = data.train_images[rows], data.train_labels[rows]
    return Dataset("digits", images[:n], labels[:n], images[n:], labels[n:], ("0", "1", "2"))


def small(method: str, **changes) -> TrainConfig:
    """Few epochs, of which one warms up if the method does, of two steps each, or as many as have labels for them."""
    fixed = {"method": method, "rate": 0.3, "epochs": 3, "device": "auto"}
    fixed["batch_size"] = 60 if changes.get("preset") == "paper" else 90
    config = TrainConfig(**fixed | {name: value for name, value in changes.items() if hasattr(TrainConfig(), name)})
    others = {name: value for name, value in changes.items() if not hasattr(config, name)}
    return with_overrides(config, SHORT.get(method, {}) | others)


def numbers(result) -> list[str]:
    return [repr({key: value for key, value in row.items() if key != "seconds"}) for row in result.history]


# -- the cases: what each does to a folder of its own; what it returns must be true


def whole(config: TrainConfig, folder: Path) -> bool:
    result = train(config, digits())
    return len(json.loads(result.to_json())["history"]) == config.epochs


def stopped(config: TrainConfig, folder: Path) -> bool:
    """A run that stops after every epoch ends with the numbers of one that does not."""
    data, parts = digits(), 0
    while True:
        try:
            result = train(config, data, folder=folder, time_budget=0.0)
            break
        except Paused:
            parts += 1
    return parts == config.epochs - 1 and numbers(result) == numbers(train(config, data))


def judged(folder: Path) -> bool:
    """The networks of an audit, and what is asked of them: opinions come back to the CPU."""
    from nlcore.audit.judge import train_judge

    data = digits()
    judge = train_judge(data.train_images, data.train_labels, 3, "tssd", seed=0, length=3)
    both = judge.probs(data.test_images), judge.opinion(data.test_images)
    return all(probs.device.type == "cpu" and probs.shape == (30, 3) for probs in both)


def kept(folder: Path) -> bool:
    """Epochs that are read from files in place of being trained again."""
    with mock.patch.dict(os.environ, {KEPT_EPOCHS: str(folder)}):
        histories = []
        for _ in range(2):
            config = small("anchor").resolved(digits())
            data, noisy = prepare(config, digits())
            epochs = list(run_kept(config, data, noisy))
            histories.append([repr(epoch.row | {"seconds": 0}) for epoch in epochs])
    return histories[0] == histories[1] and all(epoch.trained_elsewhere for epoch in epochs)


def soft_labels(folder: Path) -> bool:
    data = digits()
    votes = torch.stack([data.train_labels] * 3 + [(data.train_labels + 1) % 3], 1)
    folder.mkdir()
    np.save(folder / "votes.npy", votes.numpy())
    return whole(small("ce", noise=f"annotators:{folder / 'votes.npy'}", noise_options={"soft": True}), folder)


def seeds_and_restores(folder: Path) -> bool:
    """The global generator of the device: `seeded` for it, and as it was afterwards."""
    device, chance = torch.device(emulated_device.NAME, 0), emulated_device.Backend.chance
    before = chance.get_state()
    with seeded(5, device):
        inside = chance.get_state()
    wanted = torch.Generator().manual_seed(5).get_state()
    return torch.equal(inside, wanted) and torch.equal(before, chance.get_state())


def vectors(folder: Path) -> bool:
    made = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 3
    points = torch.randn(200, 6, generator=made) + 2 * torch.eye(3, 6)[labels]
    data = Dataset("points", points[:180], labels[:180], points[180:], labels[180:], ("a", "b", "c"))
    return len(train(small("dividemix", dataset="points", strong=True), data).history) == 3


def cases() -> dict[str, Callable[[Path], bool]]:
    """Name -> what to do."""
    found = {}
    for method, preset, networks in COMBINATIONS:
        changes = {"networks": networks, "preset": preset, "holdout": 0.2 if networks == 2 else 0.0}
        run = stopped if (preset, networks) == ("tuned", 2) else whole
        changes["epochs"] = 3 if run is stopped else 2
        found[f"{method}, {preset}, {networks}"] = lambda folder, r=run, m=method, c=changes: r(small(m, **c), folder)
    more = {
        "golden": (stopped, small("tssd", meta="golden", golden=30)),
        "joint and margin": (whole, small("tssd", combination="joint", feature_score="margin", min_distance=1.0)),
        "uniform": (whole, small("tssd", negatives="uniform", per_class_from=1)),
        "no trust": (whole, small("tssd", trust_from=1.0)),
        "nothing labelled": (whole, small("anchor", tau=1.0, keep_share=0.0)),
        "refined labels": (whole, small("elr", refine_labels=True, mixup=1.0, rampup_steps=5)),
        "PreAct ResNet-18": (whole, small("ce", network="preact_resnet18", epochs=1, precision="bfloat16")),
        "interpolated": (stopped, small("anchor", generator="interpolated", vote="soft", per_class_mixture=True)),
        "balanced": (stopped, small("gce", balanced_images=90)),
        "history": (stopped, small("dividemix", loss_history=2, schedule="one_cycle", confidence_penalty=1.0)),
        "clean model": (whole, small("ce", noise="idn_pmd", noise_options={"epochs": 2})),
    }
    found |= {name: lambda folder, r=run, c=config: r(c, folder) for name, (run, config) in more.items()}
    found |= {"vectors": vectors, "soft labels": soft_labels, "kept": kept, "judge": judged}
    return found | {"seeded": seeds_and_restores}


# -- faults, each of which a GPU would refuse, or wait for


def cpu_division(*arguments):
    division, said = divide(*arguments)
    return replace(division, weight=division.weight.cpu()), said


def cpu_means(values, groups, num_classes, weight=None):
    sums = torch.zeros(num_classes, values.shape[1]).index_add(0, groups, values)
    return sums / len(values)


def reading_update(self, learner, loss):
    float(loss)
    return update(self, learner, loss)


divide, update = tssd.divide, Steps.update
FAULTS = {  # what is put in the place of what, and the words that it is found by
    "images of the CPU": (
        "nlcore.training.steps.Steps.weak",
        lambda self, rows: weak_input(self.state, self.state.images.cpu()[rows]),
        "index: ",
    ),
    "weights of the CPU": ("nlcore.training.state.frozen_copy", lambda n: frozen_copy(n).cpu(), "of the CPU among"),
    "trust of the CPU": ("nlcore.methods.tssd.divide", cpu_division, "of the CPU among"),
    "sums of the CPU": ("nlcore.methods.tssd.class_means", cpu_means, "index_add: "),
    "numpy": (
        "nlcore.training.engine.describe_division",
        lambda division, *others: report.describe_division(division, *others) | {"sum": division.weight.numpy().sum()},
        "numpy cannot see",
    ),
    "a generator of the CPU": (
        "nlcore.selection.purification.torch.randperm",
        lambda n, generator=None, device=None, p=torch.randperm: p(n, generator=torch.Generator(), device=device),
        "randperm: a generator of cpu draws on accel",
    ),
    "a loss that is read": ("nlcore.training.steps.Steps.update", reading_update, "_local_scalar_dense"),
}


# -- the process of its own


class Watch:
    """What the host waits for, or sends, between the end of a step and the end of the next one of the same epoch."""

    def __init__(self, log: emulated_device.Log):
        self.log, self.found, self.since = log, [], None

    def update(self, steps: Steps, learner, loss: torch.Tensor) -> torch.Tensor:
        loss = self.original(steps, learner, loss)
        if self.since is not None:
            self.found += [*self.log.waits[self.since[0] :], *self.log.sent[self.since[1] :]]
        self.since = len(self.log.waits), len(self.log.sent)
        return loss

    def mean_loss(self, steps: Steps, *arguments) -> float:
        self.since = None
        return self.of_epoch(steps, *arguments)

    def __enter__(self) -> "Watch":
        self.original, self.of_epoch = Steps.update, Steps.mean_loss
        Steps.update, Steps.mean_loss = lambda *a: self.update(*a), lambda *a: self.mean_loss(*a)
        return self

    def __exit__(self, *_: object) -> None:
        Steps.update, Steps.mean_loss = self.original, self.of_epoch


def told(work: Callable[[Path], bool], folder: Path, fault=None) -> dict:
    """What became of a case: whether its answer was true, the error that it ended with, the waits inside its steps."""
    planted = mock.patch(*fault[:2]) if fault else nullcontext()
    with emulated_device.emulated() as log, planted, Watch(log) as watch:
        try:
            said = {"true": work(folder), "error": ""}
        except Exception as error:
            said = {"true": False, "error": f"{error}\n{traceback.format_exc()}"}
    return said | {"waits": sorted({f"{event.what} at {event.line}" for event in watch.found})}


def main(folder: str, only: str = "") -> None:
    device = emulated_device.install()
    with mock.patch("nlcore.training.distributed.device", lambda name: device):
        work = [(name, run, None) for name, run in cases().items()]
        work += [(name, lambda f: whole(small("tssd"), f), fault) for name, fault in FAULTS.items()]
        for number, (name, run, fault) in enumerate(work):
            if only in name:
                found = told(run, Path(folder) / str(number), fault)
                (Path(folder) / f"{number}.json").write_text(json.dumps({"name": name} | found))
    os._exit(0)  # autograd's thread of the device ends with a complaint


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, dict]:
    """What became of every case."""
    if not emulated_device.available():
        pytest.skip(f"torch {torch.__version__} cannot have a backend in Python")
    folder = tmp_path_factory.mktemp("device")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NLCORE_DATA": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return {values.pop("name"): values for values in found}


@pytest.mark.parametrize("case", cases())
def test_nothing_of_the_cpu_meets_the_device_and_no_step_waits_for_it(outcomes, case):
    found = outcomes[case]
    assert found["error"] == "" and found["true"]
    assert found["waits"] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_its_line_named(outcomes, fault):
    found, words = outcomes[fault], FAULTS[fault][2]
    text = "\n".join([found["error"], *found["waits"]])
    assert words in text and ".py:" in text
    assert (found["error"] == "") == (fault == "a loss that is read")


if __name__ == "__main__":
    main(*sys.argv[1:])
