"""Three labels of every CIFAR-10 photograph (CIFAR-10N): agreement, shared errors, the majority, Dawid and Skene.

    python -m benchmark.annotators [--out results/noise/annotators.json]

Reads the label file of CIFAR-10N from the data folder and stores numbers about it, no label. A column of that file is
no person: it holds the first, second or third label of each image, from whoever gave it. Counts are of images; the true
label is CIFAR-10's own. What people who err independently would do is worked out from the confusion matrices of the
three columns, class by class. Shares and accuracies are in per cent.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from nlcore.basics.files import save_file
from nlcore.basics.machine import environment
from nlcore.data.cifar_classes import CIFAR10_CLASSES
from nlcore.noise.label_files import HUMAN_FILES, HUMAN_LABELS, find_label_file, read_label_file

FILE = HUMAN_FILES["cifar10"]
COLUMNS = [HUMAN_LABELS["cifar10"][f"random{number}"] for number in (1, 2, 3)]
K = len(CIFAR10_CLASSES)
OUT = Path(__file__).parents[1] / "results" / "noise" / "annotators.json"
LARGEST_STEP, MOST_STEPS = 1e-6, 500  # EM ends when no probability moves further, or after so many steps


def measured(votes: np.ndarray, true: np.ndarray) -> dict:
    """Everything that is stored of votes (N, A) and true labels (N,)."""
    counts, wrong = vote_counts(votes), votes != true[:, None]
    confusion = np.stack([confusion_counts(true, column) for column in votes.T])
    posterior, steps = dawid_skene(votes)
    distinct = (counts > 0).sum(1)
    pairs = list(combinations(range(votes.shape[1]), 2))
    return {
        "images": len(true),
        "columns": COLUMNS,
        "class_names": list(CIFAR10_CLASSES),
        "wrong": (100 * wrong.mean(0)).tolist(),
        "confusion": confusion.tolist(),  # column, true class, label
        # how many images have each combination of a right (0) or wrong (1) first, second and third label
        "wrong_patterns": np.bincount(wrong @ [4, 2, 1], minlength=8).tolist(),
        "images_with_wrong": np.bincount(wrong.sum(1), minlength=4).tolist(),
        "independent_with_wrong": independent_wrong(confusion),
        "pairs": [pair(votes[:, a], votes[:, b], true, confusion[a], confusion[b]) for a, b in pairs],
        "different_labels": {str(d): pattern(counts, true, distinct == d) for d in (1, 2, 3)},
        "majority_right": {str(n): expected_majority(votes, true, n) for n in (1, 2, 3)},
        "independent_majority_right": {str(n): independent_majority(confusion, n) for n in (1, 3, 5, 7, 9)},
        "majority_right_of_class": (100 * class_mean(majority_share(counts, true), true)).tolist(),
        "all_wrong_of_class": (100 * class_mean(wrong.all(1), true)).tolist(),
        "given_share_right": share_right(counts, true),
        "dawid_skene": {
            "right": 100 * float((posterior.argmax(1) == true).mean()),
            "right_by_different_labels": [
                100 * float((posterior.argmax(1) == true)[distinct == d].mean()) for d in (1, 2, 3)
            ],
            "steps": steps,
            "right_of_class": confusion_of(votes, posterior).mean(0).diagonal().tolist(),
        },
    }


def vote_counts(votes: np.ndarray) -> np.ndarray:
    """How many votes each class has, (N, K)."""
    return (votes[:, :, None] == np.arange(K)).sum(1)


def confusion_counts(true: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many images of a true class (row) have a label (column), (K, K)."""
    return np.bincount(true * K + labels, minlength=K * K).reshape(K, K)


def majority_share(counts: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Chance that the majority is right, ties drawn at random, (N,)."""
    most = counts == counts.max(1, keepdims=True)
    return most[np.arange(len(true)), true] / most.sum(1)


def expected_majority(votes: np.ndarray, true: np.ndarray, number: int) -> float:
    """Accuracy of the majority of so many of the columns, ties drawn at random: mean over all choices of columns."""
    chosen = list(combinations(range(votes.shape[1]), number))
    return 100 * float(np.mean([majority_share(vote_counts(votes[:, list(c)]), true).mean() for c in chosen]))


def pattern(counts: np.ndarray, true: np.ndarray, rows: np.ndarray) -> dict:
    """Images with so many different labels: how many, majority right, true label among the votes."""
    named = counts[np.arange(len(true)), true] > 0
    right = majority_share(counts, true)[rows].mean()
    return {"images": int(rows.sum()), "majority_right": 100 * float(right), "named": 100 * float(named[rows].mean())}


def share_right(counts: np.ndarray, true: np.ndarray) -> list[dict]:
    """For each number of votes that a class can have: how many such pairs of image and class, and how often right."""
    is_true = np.arange(K) == true[:, None]
    return [
        {"votes": v, "pairs": int((counts == v).sum()), "right": 100 * float(is_true[counts == v].mean())}
        for v in (1, 2, 3)
    ]


def pair(a: np.ndarray, b: np.ndarray, true: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict:
    """Two columns: agreement, Cohen's kappa, and shared errors beside those of independent people."""
    agree = (a == b).mean()
    by_chance = (np.bincount(a, minlength=K) * np.bincount(b, minlength=K)).sum() / len(a) ** 2
    both = (a != true) & (b != true)
    rows = first / first.sum(1, keepdims=True), second / second.sum(1, keepdims=True)
    prior = first.sum(1) / first.sum()
    off = [row * (1 - np.eye(K)) for row in rows]
    return {
        "agree": 100 * float(agree),
        "kappa": float((agree - by_chance) / (1 - by_chance)),
        "both_wrong": 100 * float(both.mean()),
        "same_wrong": 100 * float((both & (a == b)).mean()),
        "independent_both_wrong": 100 * float((prior * off[0].sum(1) * off[1].sum(1)).sum()),
        "independent_same_wrong": 100 * float((prior * (off[0] * off[1]).sum(1)).sum()),
    }


def independent_wrong(confusion: np.ndarray) -> list[float]:
    """Share of images with 0, 1, 2, 3 wrong labels if the columns erred independently within each class."""
    wrong = 1 - np.stack([np.diagonal(c) / c.sum(1) for c in confusion])  # (A, K)
    prior, number = confusion[0].sum(1) / confusion[0].sum(), np.zeros((len(wrong) + 1, K))
    number[0] = 1
    for rate in wrong:  # one column more: as many wrong as before, or one more
        number = number * (1 - rate) + np.roll(number, 1, 0) * rate
    return (100 * number @ prior).tolist()


def independent_majority(confusion: np.ndarray, number: int, draws: int = 300_000) -> float:
    """Accuracy of the majority of so many independent people with the mean confusion matrix of the columns."""
    generator, total = np.random.default_rng(0), confusion.sum(0)
    right = []
    for k, row in enumerate(total / total.sum(1, keepdims=True)):
        counts = generator.multinomial(number, row, draws // K)
        right.append(majority_share(counts, np.full(len(counts), k)).mean())
    return 100 * float(np.dot(right, total.sum(1) / total.sum()))


def class_mean(values: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean of values (N,) over the images of each class, (K,)."""
    return np.bincount(true, values, K) / np.bincount(true, minlength=K)


def confusion_of(votes: np.ndarray, posterior: np.ndarray) -> np.ndarray:
    """Confusion matrices (A, K, K) of the columns under a posterior (N, K) of the true classes, in per cent."""
    counts = np.einsum("nk,nac->akc", posterior, votes[:, :, None] == np.arange(K)) + 1e-9
    return 100 * counts / counts.sum(2, keepdims=True)


def dawid_skene(votes: np.ndarray) -> tuple[np.ndarray, int]:
    """Posterior (N, K) of the true classes by EM from the shares of the votes, and the number of steps."""
    posterior = vote_counts(votes) / votes.shape[1]
    largest, steps = np.inf, 0
    while largest >= LARGEST_STEP and steps < MOST_STEPS:
        log_prob = np.log(posterior.mean(0)) + sum(
            np.log(matrix / 100).T[column]
            for matrix, column in zip(confusion_of(votes, posterior), votes.T, strict=True)
        )
        moved = np.exp(log_prob - log_prob.max(1, keepdims=True))
        moved /= moved.sum(1, keepdims=True)
        largest = abs(moved - posterior).max()
        posterior, steps = moved, steps + 1
    return posterior, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    files = [read_label_file(find_label_file(FILE), key) for key in COLUMNS]
    votes = np.stack([file.given_labels.numpy() for file in files], 1)
    values = {"file": f"{FILE} sha256={files[0].digest}", "environment": environment(torch.device("cpu"))}
    values |= measured(votes, files[0].true_labels.numpy())
    save_file(asked.out, json.dumps(values, indent=1) + "\n")
    right = values["majority_right"]["3"]
    print(f"wrote {asked.out}: majority {right:.1f} % right, Dawid and Skene {values['dawid_skene']['right']:.1f} %")


if __name__ == "__main__":
    main()
