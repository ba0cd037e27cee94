"""What a noise does to a dataset, in numbers that hold for every kind: models, label files and people alike.

Four questions: how sharp are the confusions, does a class become a sink, are hard images hit more often, and is there
more to the noise than its confusion matrix?
"""

from collections.abc import Iterable

import pandas as pd
import torch

from nlcore.data.datasets import Dataset
from nlcore.noise.labels import NoisyLabels
from nlcore.noise.models import SCALINGS, draw
from nlcore.study.comparisons import roc_auc
from nlcore.training.clean_model import CleanPredictions, corrupt

FEATURE_DIMENSIONS = 32  # principal components that the two-sample classifier sees


def confusion_numbers(noisy: NoisyLabels) -> dict[str, float]:
    """Five numbers of a transition matrix.

    `wrong`: realised rate. `top target`: share of a class's flips that go to its most frequent wrong label, mean over
    the classes that have flips. `largest class`: its share of all given labels; `sink`: which class that is.
    `into the sink`: share of all wrong labels that name it, of those whose image shows another class.
    """
    given, true = noisy.given_labels, noisy.true_labels
    flips = noisy.transition_matrix.nan_to_num().fill_diagonal_(0)
    counts = torch.bincount(given, minlength=len(flips))
    sink = int(counts.argmax())
    elsewhere = (given != true) & (true != sink)
    return {
        "wrong": noisy.rate,
        "top target": float((flips.max(1).values / flips.sum(1)).nanmean()),
        "largest class": float(counts[sink] / len(given)),
        "sink": sink,
        "into the sink": float((given[elsewhere] == sink).double().mean()),
    }


def scaling_table(dataset: Dataset, kind: str, rate: float, seeds: Iterable[int]) -> pd.DataFrame:
    """What the scale of the input does to `idn_xia` or `idn_shared` noise: one row for each scaling and seed.

    Columns: scaling, seed, and those of `confusion_numbers`.
    """
    rows = []
    for scaling in SCALINGS:
        for seed in seeds:
            noisy = corrupt(dataset, kind, rate, seed, scaling=scaling)
            rows.append({"scaling": scaling, "seed": seed} | confusion_numbers(noisy))
    return pd.DataFrame(rows)


def difficulty(predictions: CleanPredictions, true_labels: torch.Tensor) -> torch.Tensor:
    """One less the probability of the true class, averaged over a clean-label model's training: (N,) in [0, 1].

    An image that was learnt in the first epoch is easy, one that was learnt in the last is hard.
    """
    return 1 - predictions.mean_probs.gather(1, true_labels[:, None]).squeeze(1)


def hits_by_difficulty(noisy: NoisyLabels, difficulty: torch.Tensor, bins: int = 10) -> torch.Tensor:
    """Share of wrong labels in each tenth of the images, from the easiest to the hardest: (bins,) float64."""
    wrong = (noisy.given_labels != noisy.true_labels).double()[difficulty.argsort(stable=True)]
    return torch.stack([part.mean() for part in wrong.tensor_split(bins)])


def difficulty_auc(noisy: NoisyLabels, difficulty: torch.Tensor) -> float:
    """Chance that a wrongly labelled image is harder than a rightly labelled one: 0.5 if the noise does not look."""
    return roc_auc(difficulty, noisy.given_labels != noisy.true_labels)


def twin(noisy: NoisyLabels, generator: torch.Generator) -> NoisyLabels:
    """Labels with the same transition matrix that do not look at the image: class-conditional noise."""
    probabilities = noisy.transition_matrix.nan_to_num()[noisy.true_labels]
    given = draw(probabilities, generator)
    num_classes = len(noisy.transition_matrix)
    return NoisyLabels.measured(given, noisy.true_labels, num_classes, f"class-conditional twin of {noisy.identity}")


def two_sample_auc(
    first: NoisyLabels, second: NoisyLabels, features: torch.Tensor | None, generator: torch.Generator
) -> float:
    """Can a classifier tell the wrong labels of one noise from those of another? AUC on images that it has not seen.

    A classifier two-sample test in the spirit of the CIFAR-N paper (Wei et al. 2022); the form is ours. Each wrong
    label is one case: true class, given label and, unless None, `features` (N, d) of its image. Half of the images
    teach gradient-boosted trees, the other half are asked. 0.5 means that the noises cannot be told apart; NaN that
    there are too few wrong labels to ask.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    true = first.true_labels
    seen = torch.rand(len(true), generator=generator) < 0.5
    table = torch.empty(len(true), 0) if features is None else _components(features, true)
    cases, origin, teach = [], [], []
    for number, noisy in enumerate((first, second)):
        wrong = (noisy.given_labels != true).nonzero().flatten()
        pair = torch.stack([true, noisy.given_labels], 1)[wrong].double()
        cases.append(torch.cat([pair, table[wrong]], 1))
        origin.append(torch.full((len(wrong),), number))
        teach.append(seen[wrong])
    cases, origin, teach = torch.cat(cases), torch.cat(origin), torch.cat(teach)
    if len(origin[teach].unique()) < 2:
        return float("nan")
    model = HistGradientBoostingClassifier(max_iter=100, categorical_features=[0, 1], random_state=0)
    model.fit(cases[teach].numpy(), origin[teach].numpy())
    score = torch.from_numpy(model.predict_proba(cases[~teach].numpy())[:, 1])
    return roc_auc(score, origin[~teach].bool())


def _components(features: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """The first principal components of features (N, d), centred on each true class: (N, <=32) float64.

    Without its class mean a feature says what is unusual about an image of its class.
    """
    features = features.double()
    counts = torch.bincount(true).clamp(min=1)[:, None]
    means = torch.zeros(len(counts), features.shape[1], dtype=torch.float64).index_add_(0, true, features) / counts
    centred = features - means[true]
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending eigenvalues
    return centred @ vectors[:, -FEATURE_DIMENSIONS:]
