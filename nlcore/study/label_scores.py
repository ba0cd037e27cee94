"""How suspicious is a label, in one line: the simple scores that a method's `clean_prob` has to beat.

A plain classifier is trained on the given labels for a third of its usual time, before it memorises; on vectors it is
linear. What it says of a sample that it was trained on is *in-sample*; *out-of-fold* comes from one that was trained
without the sample (what the public library cleanlab asks for).
"""

import torch
import torch.nn.functional as F

from nlcore.audit.evidence import given_label_prob
from nlcore.basics.chance import stream
from nlcore.basics.machine import cpu_threads
from nlcore.data.datasets import Dataset
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.division import Snapshot
from nlcore.selection.voting import neighbour_votes
from nlcore.training.config import TrainConfig
from nlcore.training.engine import run
from nlcore.training.observe import observe

FOLDS = 4
NEIGHBOURS = 20
UPDATES = 200  # of a classifier at least: small data need more epochs


def label_scores(dataset: Dataset, noisy: NoisyLabels, seed: int) -> dict[str, torch.Tensor]:
    """Scores (N,) of every given label by name, high = probably right.

    `p, in-sample` and `p, out-of-fold`: probability of the given label. `margin, out-of-fold`: that less the largest
    probability of another class. `neighbours`: share of the 20 nearest other samples that carry it, by the cosine of
    standardised vectors, or of the features of the in-sample network where the data are images.
    """
    given = noisy.given_labels
    everything = torch.arange(len(given))
    whole = _trained_on(dataset, given, everything, everything, seed)
    outside = out_of_fold_probs(dataset, given, seed)
    features = whole.features
    if dataset.holds_vectors:
        mean, std = dataset.channel_statistics()
        features = (dataset.train_images.float() - mean) / std
    return {
        "p, in-sample": given_label_prob(whole.probs, given),
        "p, out-of-fold": given_label_prob(outside, given),
        "margin, out-of-fold": normalised_margin(outside, given),
        "neighbours": neighbour_share(features, given, dataset.num_classes, NEIGHBOURS),
    }


def normalised_margin(probs: torch.Tensor, given_labels: torch.Tensor) -> torch.Tensor:
    """Probability of the given label less the largest one of another class: (N,) in [-1, 1]."""
    others = probs.scatter(1, given_labels[:, None], -torch.inf)
    return given_label_prob(probs, given_labels) - others.amax(1)


def neighbour_share(features: torch.Tensor, given_labels: torch.Tensor, num_classes: int, k: int) -> torch.Tensor:
    """Share of the k other samples with the most similar features (N, d), by cosine, that carry the given label."""
    votes = neighbour_votes(F.normalize(features, dim=1), given_labels, num_classes, k + 1)
    return (given_label_prob(votes, given_labels) * (k + 1) - 1) / k  # each sample is nearest to itself


def out_of_fold_probs(dataset: Dataset, given_labels: torch.Tensor, seed: int) -> torch.Tensor:
    """Probabilities (N, K) of every training sample, from the classifier of the fold that leaves it out."""
    generator = torch.Generator().manual_seed(stream(seed, "folds"))
    fold = torch.randperm(len(given_labels), generator=generator) % FOLDS
    probs = torch.empty(len(given_labels), dataset.num_classes)
    for number in range(FOLDS):
        left_out = fold == number
        rows = (~left_out).nonzero().flatten(), left_out.nonzero().flatten()
        probs[left_out] = _trained_on(dataset, given_labels, *rows, seed).probs
    return probs


def _trained_on(dataset: Dataset, given: torch.Tensor, rows: torch.Tensor, seen: torch.Tensor, seed: int) -> Snapshot:
    """What a plain classifier that learnt the labels of some rows thinks of the rows `seen`."""
    config = TrainConfig(dataset=dataset.name, noise="given", method="ce", seed=seed)
    network = "linear" if dataset.holds_vectors else None
    usual = config.resolved(dataset)
    epochs = max(1, usual.epochs // 3, -(-UPDATES * usual.batch_size // len(rows)))
    config = TrainConfig(**vars(config) | {"epochs": epochs, "network": network})
    part = dataset.rows(rows)
    labels = NoisyLabels(given[rows], None, None, None, "given")
    with cpu_threads(usual.threads):
        *_, last = run(config.resolved(part), part, labels)
    return observe(last.state, dataset.train_images[seen].to(last.state.images.device), given[seen])
