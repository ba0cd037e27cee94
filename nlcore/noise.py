"""Label noise: one function per model, each with its own generator, each saying exactly what it did.

Definitions follow the official code of each model's authors. Two of them hide a trap that the noise chapter shows:
`symmetric` redraws over ALL classes by default (the DivideMix convention), so that a rate of 0.5 flips 45 % of ten
classes' labels; and `idn_xia` depends on the scale of its input, which is therefore part of the noise's identity.
"""

from dataclasses import dataclass

import torch

from nlcore.datasets import Dataset, check_labels, check_no_empty_class
from nlcore.errors import InputError, choose

# Patrini et al. (2017): MNIST digits 2->7, 3->8, 5<->6, 7->1; CIFAR-10 truck->automobile, bird->airplane, deer->horse,
# cat<->dog.
ASYMMETRIC_PAIRS = {
    "digits": {2: 7, 3: 8, 5: 6, 6: 5, 7: 1},
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3},
}
# CIFAR-100: the next class inside the same superclass, cyclic. This is the superclass of each of its classes.
CIFAR100_SUPERCLASS = tuple(
    int(number)
    for number in """
    4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5 5 19 8 8 15
    13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5
    8 19 18 1 2 15 6 0 17 8 14 13
    """.split()
)
SCALINGS = ("raw", "unit", "normalised")


@dataclass(frozen=True)
class NoisyLabels:
    """The labels that a learner is given, beside what is known of them.

    Attributes
    ----------
    given_labels : (N,) int64, what the learner sees.
    true_labels : (N,) int64, or None where nobody knows them.
    transition_matrix : (K, K) float64, realised: row = true class, column = given class; None without true labels.
    rate : realised share of wrong labels; None without true labels.
    identity : the noise in words that reproduce it.
    flip_prob : (N,) float64, the probability of a wrong label for each sample, where the model defines one; else None.
    """

    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    transition_matrix: torch.Tensor | None
    rate: float | None
    identity: str
    flip_prob: torch.Tensor | None = None


def realised_transition(true_labels: torch.Tensor, given_labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Share of each true class (row) that carries each given label (column): (K, K) float64."""
    counts = torch.bincount(true_labels * num_classes + given_labels, minlength=num_classes**2).double()
    counts = counts.reshape(num_classes, num_classes)
    return counts / counts.sum(1, keepdim=True)


def symmetric(labels, num_classes, rate, generator, include_true: bool = True) -> torch.Tensor:
    """Redraw round(rate N) labels uniformly: over all classes (DivideMix), or over the wrong ones only.

    The realised rate is rate (1 - 1/K) with the true class included, exactly rate without.
    """
    chosen = _choose_samples(len(labels), rate, generator)
    shift = torch.randint(0 if include_true else 1, num_classes, (len(chosen),), generator=generator)
    given = labels.clone()
    given[chosen] = (labels[chosen] + shift) % num_classes
    return given


def flip_by_map(labels, target, rate, generator) -> torch.Tensor:
    """Send round(rate N) randomly chosen samples to `target[label]`; classes that map to themselves stay clean.

    The flips are read off a copy of the clean labels, so that no sample can flip twice.
    """
    chosen = _choose_samples(len(labels), rate, generator)
    given = labels.clone()
    given[chosen] = target[labels[chosen]]
    return given


def idn_xia_probabilities(images, labels, num_classes, rate, generator, scaling="raw", statistics=None) -> torch.Tensor:
    """Probabilities (N, K) float64 of each given label under part-dependent noise (Xia et al. 2020, Algorithm 2).

    Each sample draws a flip rate q ~ N(rate, 0.1^2) truncated to [0, 1]; each clean class draws one projection W of the
    image to class scores; P[i] = q_i softmax(x_i W with the true class left out), P[i, true] = 1 - q_i.

    `scaling` is the image that is projected: `raw` pixels 0..255 (Xia, CORES, CAL), `unit` 0..1, or `normalised` by
    `statistics`, the mean and standard deviation per channel. Raw pixels make the softmax almost one-hot.
    """
    n, size = len(images), images[0].numel()
    low, high = (torch.special.ndtr(torch.tensor((edge - rate) / 0.1, dtype=torch.float64)) for edge in (0.0, 1.0))
    uniform = torch.rand(n, generator=generator, dtype=torch.float64)
    flip_prob = (rate + 0.1 * torch.special.ndtri(low + uniform * (high - low))).clamp(0, 1)

    probabilities = torch.empty(n, num_classes, dtype=torch.float64)
    for c in range(num_classes):  # one projection at a time: all of them would be 246 MB for CIFAR-100
        projection = torch.randn(size, num_classes, generator=generator, dtype=torch.float64)
        members = (labels == c).nonzero().flatten()
        scores = _scaled(images[members], scaling, statistics).flatten(1) @ projection
        scores[:, c] = -torch.inf
        probabilities[members] = flip_prob[members, None] * scores.softmax(1)
        probabilities[members, c] = 1 - flip_prob[members]
    return probabilities


def corrupt(dataset: Dataset, kind: str, rate: float, seed: int, **options) -> NoisyLabels:
    """Corrupt the training labels of a dataset.

    Parameters
    ----------
    kind : `symmetric` (option `include_true=True`), `asymmetric`, `pairflip`, `idn_xia` (option `scaling="raw"`), or
        `given`: the dataset's own labels are taken as the noisy ones, and the true ones as unknown.
    rate : in [0, 1). A rate of 0 leaves every label as it is, whatever the kind.
    seed : of a generator of its own; the global random state is neither read nor written.

    Raises
    ------
    InputError : an unknown kind or option, a rate outside [0, 1), labels that do not fit the images.
    """
    choose("noise", kind, NOISES)
    unknown = set(options) - set(NOISES[kind])
    if unknown:
        valid = ", ".join(NOISES[kind]) or "none"
        raise InputError(f"unknown option {sorted(unknown)[0]!r} of {kind} noise; valid options: {valid}")
    if not 0 <= rate < 1:
        raise InputError(f"the noise rate must lie in [0, 1), not {rate}")
    options = {**NOISES[kind], **options}
    labels, num_classes = dataset.train_labels, dataset.num_classes
    check_labels(labels, len(dataset.train_images), num_classes, f"{dataset.name} train")
    check_no_empty_class(labels, dataset.class_names, f"{dataset.name} train")

    details = "".join(f" {key}={value}" for key, value in options.items())
    identity = f"{kind} rate={rate:g} seed={seed}{details} of {dataset.name}[{len(labels)}]"
    if kind == "given":
        return NoisyLabels(labels, None, None, None, f"given of {dataset.name}[{len(labels)}]")
    generator = torch.Generator().manual_seed(seed)
    flip_prob = None
    if rate == 0:
        given = labels.clone()
    elif kind == "symmetric":
        given = symmetric(labels, num_classes, rate, generator, **options)
    elif kind == "idn_xia":
        choose("scaling", options["scaling"], SCALINGS)
        statistics = dataset.channel_statistics()
        probabilities = idn_xia_probabilities(
            dataset.train_images, labels, num_classes, rate, generator, options["scaling"], statistics
        )
        flip_prob = 1 - probabilities.gather(1, labels[:, None]).squeeze(1)
        given = _draw(probabilities, generator)
    else:
        target = _asymmetric_target(dataset) if kind == "asymmetric" else (torch.arange(num_classes) + 1) % num_classes
        given = flip_by_map(labels, target, rate, generator)

    realised = float((given != labels).double().mean())
    return NoisyLabels(given, labels, realised_transition(labels, given, num_classes), realised, identity, flip_prob)


# kind -> its options with their defaults
NOISES = {
    "symmetric": {"include_true": True},
    "asymmetric": {},
    "pairflip": {},
    "idn_xia": {"scaling": "raw"},
    "given": {},
}


def _choose_samples(n: int, rate: float, generator: torch.Generator) -> torch.Tensor:
    return torch.randperm(n, generator=generator)[: round(rate * n)]


def _asymmetric_target(dataset: Dataset) -> torch.Tensor:
    """Where each class flips to, (K,) int64; a class that keeps its labels maps to itself."""
    target = torch.arange(dataset.num_classes)
    if dataset.name == "cifar100":
        superclass = torch.tensor(CIFAR100_SUPERCLASS)
        for s in range(20):
            members = (superclass == s).nonzero().flatten()
            target[members] = members.roll(-1)
    elif dataset.name in ASYMMETRIC_PAIRS:
        for source, destination in ASYMMETRIC_PAIRS[dataset.name].items():
            target[source] = destination
    else:
        raise InputError(f"asymmetric noise has no class pairs for {dataset.name!r}; pairflip works on any dataset")
    return target


def _scaled(images: torch.Tensor, scaling: str, statistics) -> torch.Tensor:
    pixels = images.double()
    if scaling == "raw":
        return pixels
    pixels /= 255
    if scaling == "normalised":
        mean, std = (s.double()[:, None, None] for s in statistics)
        pixels = (pixels - mean) / std
    return pixels


def _draw(probabilities: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One class per row of (N, K) probabilities, by inverting the cumulative distribution: (N,) int64."""
    uniform = torch.rand(len(probabilities), 1, generator=generator, dtype=torch.float64)
    cumulative = probabilities.cumsum(1)
    # Scaling by the last column keeps rounding from drawing a class past the end.
    return (cumulative <= uniform * cumulative[:, -1:]).sum(1).clamp(max=probabilities.shape[1] - 1)
