"""Which labels are wrong: the package's audit beside cleanlab and the simple scores, on the same features.

    pip install cleanlab                                        # for this comparison alone
    python -m benchmark.audit [--out results/audit] [--seeds 0,1,2,3,4] [--only NAME] [--again]

A cell is a data set, its noise and a seed; what is stored is kept, but for the audit's own scores with `--again`.
CIFAR's features are made as `benchmark/arena.yml` says, once; 10,000 of the images are used, and for two sets of
people's labels all 50,000 as well. Texts and table are those of the ledger of claims: docstrings of five packages, and
thirty measurements of tumours. Every score is judged by AUROC, average precision and the share of wrong labels among
the most suspicious hundredth; what is a probability also by its calibration error.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmark.claims.questions import docstrings, measurements
from nlcore.audit.classifier import NoisyLabelClassifier
from nlcore.audit.evidence import (
    NEIGHBOURS,
    choose_strength,
    given_label_prob,
    linear_classifier,
    nearest_others,
    neighbour_votes,
    out_of_fold,
    standardised,
)
from nlcore.basics.files import save_file
from nlcore.basics.machine import environment
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.methods import METHODS
from nlcore.noise.labels import NoisyLabels
from nlcore.training.clean_model import corrupt
from nlcore.training.config import TrainConfig
from nlcore.training.run import train

SUBSET = 10_000
CELLS = {  # name: data set, noise, rate; with all images where the name says so
    "cifar10_aggre": ("cifar10_features", "human:aggre", None),
    "cifar10_random1": ("cifar10_features", "human:random1", None),
    "cifar10_worst": ("cifar10_features", "human:worst", None),
    "cifar10_worst_all": ("cifar10_features", "human:worst", None),
    "cifar10_aggre_all": ("cifar10_features", "human:aggre", None),
    "cifar10_symmetric": ("cifar10_features", "symmetric", 0.2),
    "cifar10_idn_xia": ("cifar10_features", "idn_xia", 0.4),
    "cifar100_fine": ("cifar100_features", "human:fine", None),
    "text": ("docstrings", "symmetric", 0.2),
    "table": ("measurements", "symmetric", 0.2),
}
SMALL = {"docstrings": docstrings, "measurements": measurements}
TESTED = 4  # one in so many samples of a small set is left for a test
BANDS = 10
AUDITED = ("tssd", "anchor")


def loaded(name: str, whole: bool = False) -> Dataset:
    """A data set by its name, of CIFAR's features a part, or the whole."""
    if name not in SMALL:
        return load_dataset(name) if whole else load_dataset(name).subset(SUBSET)
    inputs, labels = SMALL[name]()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test, train = order[: len(order) // TESTED], order[len(order) // TESTED :]
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return Dataset("own", inputs[train], labels[train], inputs[test], labels[test], names)


def measured(dataset: Dataset, noisy: NoisyLabels, seed: int) -> dict[str, dict]:
    """Every score of one cell by name: how well it orders the labels, its seconds, and what else is known of it."""
    vectors, given, classes = standardised(dataset.train_images), noisy.given_labels, dataset.num_classes
    wrong = (given != noisy.true_labels).numpy()
    found = {}

    def add(name: str, work: Callable[[], tuple[torch.Tensor, dict]]) -> None:
        found[name] = timed(work, wrong)

    strength = choose_strength(vectors, given, classes, seed)
    probs = out_of_fold(vectors, given, classes, strength, seed)
    add("p, out-of-fold", lambda: (given_label_prob(out_of_fold(vectors, given, classes, strength, seed), given), {}))
    for name, score in cleanlab_scores(given.numpy(), probs.numpy()).items():
        add(f"cleanlab, {name}", lambda score=score: (torch.from_numpy(score), {}))
    near = nearest_others(vectors, torch.arange(len(given)), NEIGHBOURS)
    add("neighbours", lambda: (given_label_prob(neighbour_votes(near, given, classes), given), {}))
    add("dividemix", lambda: (dividemix(dataset, given, seed), {}))
    found |= audits(dataset, noisy, seed)
    found["kept by cleanlab"] = {"test_accuracy": accuracy_of_kept(dataset, vectors, given, probs, strength)}
    return found


def audits(dataset: Dataset, noisy: NoisyLabels, seed: int) -> dict[str, dict]:
    """The scores of the package's own audits of one cell, a part of `measured`."""
    given = noisy.given_labels
    wrong = (given != noisy.true_labels).numpy()
    return {
        f"audit, {method}": timed(lambda method=method: audited(dataset, given, wrong, method, seed), wrong)
        for method in AUDITED
    }


def timed(work: Callable[[], tuple[torch.Tensor, dict]], wrong: np.ndarray) -> dict[str, float]:
    """How well a score orders the labels, the seconds that it took, and what else is known of it."""
    started = time.perf_counter()
    score, more = work()
    return judged(score.numpy(), wrong) | {"seconds": round(time.perf_counter() - started, 1)} | more


def judged(score: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """AUROC, average precision and precision in the first hundredth, in per cent; high scores are of right labels."""
    first = np.argsort(score, kind="stable")[: max(1, len(score) // 100)]
    return {
        "auroc": 100 * roc_auc_score(wrong, -score),
        "average_precision": 100 * average_precision_score(wrong, -score),
        "first_hundredth": 100 * float(wrong[first].mean()),
    }


def cleanlab_scores(given: np.ndarray, probs: np.ndarray) -> dict[str, np.ndarray]:
    """cleanlab's label quality by each of its methods."""
    from cleanlab.rank import get_label_quality_scores

    names = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    return {name: get_label_quality_scores(given, probs, method=name) for name in names}


def accuracy_of_kept(
    dataset: Dataset, vectors: torch.Tensor, given: torch.Tensor, probs: torch.Tensor, strength: float
) -> float:
    """Test accuracy, in per cent, of the linear classifier on the labels that cleanlab keeps."""
    from cleanlab.filter import find_label_issues

    kept = torch.from_numpy(~find_label_issues(given.numpy(), probs.numpy()))
    weight, bias = linear_classifier(vectors[kept], given[kept], strength)
    deviation, mean = torch.std_mean(dataset.train_images.float(), 0, correction=0)
    test = (dataset.test_images.float() - mean) / deviation.clamp(min=1e-6)
    return 100 * float(((test @ weight.T + bias).argmax(1) == dataset.test_labels).double().mean())


def dividemix(dataset: Dataset, given: torch.Tensor, seed: int) -> torch.Tensor:
    """DivideMix's own posterior of each given label."""
    data = Dataset(dataset.name, dataset.train_images, given, dataset.test_images[:0], given[:0], dataset.class_names)
    config = TrainConfig(dataset=dataset.name, noise="given", method="dividemix", seed=seed)
    return torch.tensor(train(config, data).samples["clean_prob"], dtype=torch.float64)


def audited(
    dataset: Dataset, given: torch.Tensor, wrong: np.ndarray, method: str, seed: int
) -> tuple[torch.Tensor, dict]:
    """The audit's opinion of each given label, its calibration error and its classifier's test accuracy."""
    assert method in METHODS
    model = NoisyLabelClassifier(method, random_state=seed)
    model.judge(dataset.train_images, given, np.arange(dataset.num_classes))
    quality = model.label_issues_["label_quality"].to_numpy()
    bands = np.array_split(np.argsort(quality, kind="stable"), BANDS)
    error = sum(len(rows) * abs(quality[rows].mean() - (~wrong[rows]).mean()) for rows in bands) / len(wrong)
    probs = sum(judge.probs(dataset.test_images) for judge in model.judges_)
    more = {
        "calibration_error": error,
        "wrong": model.wrong_,
        "really_wrong": int(wrong.sum()),
        "flagged": int((quality < 0.5).sum()),
        "test_accuracy": 100 * float((probs.argmax(1) == dataset.test_labels).double().mean()),
    }
    return given_label_prob(model.opinion_, given), more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/audit"))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--only", choices=CELLS)
    parser.add_argument("--again", action="store_true", help="of what is stored, make the audit's own scores anew")
    asked = parser.parse_args()
    for seed in map(int, asked.seeds.split(",")):
        for name in [asked.only] if asked.only else CELLS:
            path = asked.out / f"{name}_seed{seed}.json"
            if path.exists() != asked.again:
                continue
            data, noise, rate = CELLS[name]
            dataset = loaded(data, name.endswith("_all"))
            noisy = corrupt(dataset, noise, rate, seed)
            here = environment(torch.device("cpu"))
            if asked.again:
                values = json.loads(path.read_text())
                scores = values["scores"] | audits(dataset, noisy, seed)
                values |= {"scores": scores, "environment_of_audits": here}
            else:
                scores = measured(dataset, noisy, seed)
                values = {"dataset": data, "subset": len(dataset.train_labels), "noise": noise, "rate": rate}
                values |= {"seed": seed, "scores": scores}
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                values |= {"peak_memory_mb": memory, "environment": here}
            save_file(path, json.dumps(values, indent=1) + "\n")
            best = max((score["auroc"], key) for key, score in scores.items() if "auroc" in score)
            print(f"{path.stem}: best is {best[1]}, {best[0]:.2f}", flush=True)


if __name__ == "__main__":
    main()
