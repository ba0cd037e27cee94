"""The audit beside the simplest score, on ten small data sets.

    python -m benchmark.audit_sets [--out results/audit/sets.json] [--seed 0] [--only SET]

Sets that scikit-learn or this package brings or makes; three kinds of noise, three rates. The simplest score is the
probability of the given label, out of fold, of a linear classifier of well chosen strength. What is stored is kept.

Two decisions were looked at on these sets, with wrong labels of seed 100: how much the given label counts in an opinion
(`nlcore.audit.calibration.likely_errors`), and what is done below which kappa (`nlcore.audit.evidence.HOPELESS`). All
others were made elsewhere.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from sklearn import datasets
from sklearn.metrics import roc_auc_score

from benchmark.claims.questions import docstrings
from nlcore.audit.classifier import NoisyLabelClassifier
from nlcore.audit.evidence import choose_strength, given_label_prob, out_of_fold, standardised
from nlcore.basics.files import save_file
from nlcore.basics.machine import environment
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.noise.labels import NoisyLabels
from nlcore.training.clean_model import corrupt

NOISES, RATES = ("symmetric", "pairflip", "idn_xia"), (0.05, 0.2, 0.4)
OUT = Path(__file__).parents[1] / "results" / "audit" / "sets.json"


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Ten measurements of 442 people, and which third their illness is in: classes that nobody can tell apart well."""
    inputs, progress = datasets.load_diabetes(return_X_y=True)
    return inputs, np.searchsorted(np.quantile(progress, [1 / 3, 2 / 3]), progress)


def made() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's clusters on the corners of a cube, with directions that say nothing."""
    return datasets.make_classification(
        2000, 20, n_informative=8, n_redundant=4, n_classes=5, class_sep=1.5, flip_y=0, random_state=0
    )


SETS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "diabetes in thirds": diabetes,
    "docstrings": lambda: tuple(part.numpy() for part in docstrings()),
    "classification": made,
    "moons": lambda: datasets.make_moons(1500, noise=0.2, random_state=0),
    "quantiles": lambda: datasets.make_gaussian_quantiles(n_samples=1500, n_features=6, n_classes=4, random_state=0),
    "digits": lambda: pictures("digits"),
    "glyphs": lambda: pictures("glyphs"),
}


def pictures(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The training images of a bundled data set, (N, H, W) uint8, and their labels."""
    data = load_dataset(name)
    return data.train_images[:, 0].numpy(), data.train_labels.numpy()


def noisy_labels(inputs: np.ndarray, labels: np.ndarray, kind: str, rate: float, seed: int) -> NoisyLabels:
    """The labels of a set with noise; where the noise looks at the sample, it looks at all of its numbers."""
    vectors = standardised(torch.from_numpy(inputs.reshape(len(inputs), -1)))
    true = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    names = tuple(map(str, range(int(true.max()) + 1)))
    return corrupt(Dataset("own", vectors, true, vectors[:0], true[:0], names), kind, rate, seed)


def compared(inputs: np.ndarray, noisy: NoisyLabels, seed: int) -> dict[str, float]:
    """AUROC, in per cent, of the audit and of the simplest score, and the audit's seconds."""
    wrong = (noisy.given_labels != noisy.true_labels).numpy()
    vectors, classes = standardised(torch.from_numpy(inputs.reshape(len(inputs), -1))), int(noisy.true_labels.max()) + 1
    strength = choose_strength(vectors, noisy.given_labels, classes, seed)
    simple = given_label_prob(out_of_fold(vectors, noisy.given_labels, classes, strength, seed), noisy.given_labels)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what could fool it is no news here
        model = NoisyLabelClassifier(random_state=seed).fit(inputs, noisy.given_labels.numpy())
    seconds = time.perf_counter() - started
    audit = given_label_prob(model.opinion_, noisy.given_labels)
    found = {"audit": audit.numpy(), "p, out-of-fold": simple.numpy()}
    return {name: 100 * roc_auc_score(wrong, -score) for name, score in found.items()} | {"seconds": round(seconds, 1)}


def cells(seed: int) -> Iterator[tuple[str, str, float, int]]:
    """All of them: one data set after the other would leave the last ones for the end, so noise changes slowest."""
    return ((name, kind, rate, seed) for kind in NOISES for rate in RATES for name in SETS)


def main(
    out: Annotated[Path, typer.Option(help="The stored comparison.")] = OUT,
    seed: Annotated[int, typer.Option(help="Of labels and models.")] = 0,
    only: Annotated[str | None, typer.Option(help="One of the sets.")] = None,
) -> None:
    """Run what is not stored yet, and say where the audit loses."""
    if only not in (None, *SETS):
        raise typer.BadParameter(f"choose one of: {', '.join(SETS)}", param_hint="--only")
    rows = json.loads(out.read_text())["rows"] if out.exists() else []
    stored = {(row["set"], row["noise"], row["rate"], row["seed"]) for row in rows}
    for name, kind, rate, number in cells(seed):
        if (name, kind, rate, number) in stored or only not in (None, name):
            continue
        inputs, labels = SETS[name]()
        noisy = noisy_labels(inputs, labels, kind, rate, number)
        row = {"set": name, "noise": kind, "rate": rate, "seed": number, "rows": len(labels)}
        rows.append(row | compared(inputs, noisy, number))
        save_file(out, json.dumps({"environment": environment(torch.device("cpu")), "rows": rows}, indent=1) + "\n")
        gain = rows[-1]["audit"] - rows[-1]["p, out-of-fold"]
        print(f"{name}, {kind} {rate}: {rows[-1]['audit']:.1f}, {gain:+.1f}", flush=True)


if __name__ == "__main__":
    typer.run(main)
