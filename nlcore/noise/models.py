"""Noise models: one function each, from true labels (and images, or a model's opinion of them) to given labels.

Definitions follow the official code of each model's authors. Some hide a trap that the book shows: `symmetric` redraws
over ALL classes by default (the DivideMix convention), so that a rate of 0.5 flips 45 % of ten classes' labels; the
noise of `idn_xia` depends on how the pixels were scaled; the one projection of `idn_shared` makes a class a sink.

Nothing here draws from a global random state. `nlcore.noise.corrupt.corrupt` chooses a model by its name.
"""

from dataclasses import dataclass

import torch

from nlcore.basics.errors import InputError, choose
from nlcore.data.cifar_classes import CIFAR100_SUPERCLASS
from nlcore.data.datasets import Dataset
from nlcore.data.names import pictured

# Patrini et al. (2017): MNIST digits 2->7, 3->8, 5<->6, 7->1; CIFAR-10 truck->automobile, bird->airplane, deer->horse,
# cat<->dog. Glyphs, letters A-H, J, K, each to the letter most like it in shape: D->B, E<->F, G->C, K->H.
ASYMMETRIC_PAIRS = {
    "digits": {2: 7, 3: 8, 5: 6, 6: 5, 7: 1},
    "glyphs": {3: 1, 4: 5, 5: 4, 6: 2, 9: 7},
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3},
}
SCALINGS = ("raw", "unit", "normalised")
PMD_TYPES = ("I", "II", "III")
PMD_TOLERANCE = 0.002
PROJECTED_AT_ONCE = 1024  # images that are float64 at the same time: 25 MB of CIFAR


# -- noise that looks at the class only


def symmetric(labels, num_classes, rate, generator, include_true: bool = True) -> torch.Tensor:
    """Redraw round(rate N) labels uniformly: over all classes (DivideMix), or over the wrong ones only.

    The realised rate is rate (1 - 1/K) with the true class included, exactly rate without.
    """
    chosen = choose_samples(len(labels), rate, generator)
    shift = torch.randint(0 if include_true else 1, num_classes, (len(chosen),), generator=generator)
    given = labels.clone()
    given[chosen] = (labels[chosen] + shift) % num_classes
    return given


def flip_by_map(labels, target, rate, generator) -> torch.Tensor:
    """Send round(rate N) randomly chosen samples to `target[label]`; classes that map to themselves stay clean.

    The flips are read off a copy of the clean labels, so that no sample can flip twice.
    """
    chosen = choose_samples(len(labels), rate, generator)
    given = labels.clone()
    given[chosen] = target[labels[chosen]]
    return given


def asymmetric_target(dataset: Dataset) -> torch.Tensor:
    """Where asymmetric noise sends each class, (K,) int64; a class that keeps its labels maps to itself.

    Pairs of look-alikes (Patrini et al. 2017); for CIFAR-100 the next class of the same superclass, cyclic.
    """
    target = torch.arange(dataset.num_classes)
    name = pictured(dataset.name)
    if name == "cifar100":
        superclass = torch.tensor(CIFAR100_SUPERCLASS)
        for s in range(20):
            members = (superclass == s).nonzero().flatten()
            target[members] = members.roll(-1)
    elif name in ASYMMETRIC_PAIRS:
        for source, destination in ASYMMETRIC_PAIRS[name].items():
            target[source] = destination
    else:
        raise InputError(f"asymmetric noise has no class pairs for {dataset.name!r}; pairflip works on any dataset")
    return target


def pairflip_target(num_classes: int) -> torch.Tensor:
    """Every class goes to the next one, the last to the first: (K,) int64."""
    return (torch.arange(num_classes) + 1) % num_classes


def choose_samples(n: int, rate: float, generator: torch.Generator) -> torch.Tensor:
    """round(rate n) of the numbers 0..n-1 in random order: (m,) int64."""
    return torch.randperm(n, generator=generator)[: round(rate * n)]


# -- noise that projects the image


def idn_xia_probabilities(images, labels, num_classes, rate, generator, scaling="raw", statistics=None) -> torch.Tensor:
    """Probabilities (N, K) float64 of each given label under part-dependent noise (Xia et al. 2020, Algorithm 2).

    Each sample draws a flip rate q ~ N(rate, 0.1^2) truncated to [0, 1]; each clean class draws one projection W of the
    image to class scores; P[i] = q_i softmax(x_i W with the true class left out), P[i, true] = 1 - q_i.

    `scaling` is the image that is projected: `raw` pixels 0..255 (Xia, CORES, CAL), `unit` 0..1, or `normalised` by
    `statistics`, the mean and standard deviation per channel. Pixels that are all positive make the images of a class
    alike, so that most of them share one favourite wrong class; centred ones do not. Vectors are projected as they are
    (`raw`), or `normalised` by those of each column.
    """
    groups = [(labels == c).nonzero().flatten() for c in range(num_classes)]
    return _projected(images, labels, num_classes, rate, generator, scaling, statistics, groups)


def idn_shared_probabilities(
    images, labels, num_classes, rate, generator, scaling="raw", statistics=None
) -> torch.Tensor:
    """The same with ONE projection for all classes (CORES, CAL), (N, K) float64.

    On raw pixels most images then agree on their favourite class: those of all other classes pour into it.
    """
    groups = [torch.arange(len(images))]
    return _projected(images, labels, num_classes, rate, generator, scaling, statistics, groups)


def _projected(images, labels, num_classes, rate, generator, scaling, statistics, groups) -> torch.Tensor:
    """Probabilities of the given labels; each group of rows has a projection of its own."""
    flip_prob = _truncated_normal(len(images), rate, generator)
    probabilities = torch.empty(len(images), num_classes, dtype=torch.float64)
    for group in groups:  # one projection at a time: all of them would be 246 MB for CIFAR-100
        projection = torch.randn(images[0].numel(), num_classes, generator=generator, dtype=torch.float64)
        for rows in group.split(PROJECTED_AT_ONCE):
            scores = _scaled(images[rows], scaling, statistics).flatten(1) @ projection
            true, q = labels[rows, None], flip_prob[rows, None]
            share = scores.scatter(1, true, -torch.inf).softmax(1)
            probabilities[rows] = (q * share).scatter(1, true, 1 - q)
    return probabilities


def draw(probabilities: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One class per row of (N, K) probabilities, by inverting the cumulative distribution: (N,) int64."""
    uniform = torch.rand(len(probabilities), 1, generator=generator, dtype=torch.float64)
    drawn = torch.empty(len(probabilities), dtype=torch.int64)
    for rows in torch.arange(len(probabilities)).split(PROJECTED_AT_ONCE):
        cumulative = probabilities[rows].cumsum(1)
        # Scaling by the last column keeps rounding from drawing a class past the end.
        drawn[rows] = (cumulative <= uniform[rows] * cumulative[:, -1:]).sum(1).clamp(max=probabilities.shape[1] - 1)
    return drawn


def _truncated_normal(n: int, rate: float, generator: torch.Generator) -> torch.Tensor:
    """Draws from N(rate, 0.1^2) inside [0, 1]: (n,) float64."""
    low, high = (torch.special.ndtr(torch.tensor((edge - rate) / 0.1, dtype=torch.float64)) for edge in (0.0, 1.0))
    uniform = torch.rand(n, generator=generator, dtype=torch.float64)
    return (rate + 0.1 * torch.special.ndtri(low + uniform * (high - low))).clamp(0, 1)


def _scaled(images: torch.Tensor, scaling: str, statistics) -> torch.Tensor:
    pixels = images.double()
    if choose("scaling", scaling, SCALINGS) == "raw":
        return pixels
    vectors = images.ndim == 2
    if not vectors:
        pixels /= 255
    elif scaling == "unit":
        raise InputError("scaling 'unit' is for pixels; vectors can be 'raw' or 'normalised'")
    if scaling == "normalised":
        mean, std = (s.double() if vectors else s.double()[:, None, None] for s in statistics)
        pixels.sub_(mean).div_(std)
    return pixels


# -- noise that asks a model trained on clean labels


@dataclass(frozen=True)
class CleanPredictions:
    """A clean-label model's view of N training images, in evaluation mode and without augmentation.

    Attributes
    ----------
    logits, features : (N, K) and (N, d) float32, after the last epoch.
    mean_probs : (N, K) float32, softmax averaged over all epochs.
    """

    logits: torch.Tensor
    features: torch.Tensor
    mean_probs: torch.Tensor


def idn_pmd(logits, labels, rate, noise_type, generator) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Poly-margin diminishing noise (Zhang et al. 2021, PLC): doubtful images fall to the second most likely class.

    With u and s the model's two most likely classes and d the margin between their probabilities, a sample is given s
    with probability factor x f(d), cut at 1, and u otherwise; f is (1 - d^2) / 2 for type I, 1 - d^3 for II, and
    1 - (d^3 + d^2 + d) / 3 for III. (The authors' code divides the probability of keeping u by a factor instead. It
    flips sure images too; the paper scales f.) Where the model errs, u is wrong before anything flips.

    Parameters
    ----------
    logits : (N, K), of a model trained on the true labels (N,).
    rate : the share of wrong labels to realise. The factor that does it is found exactly: with one uniform number for
        each sample, the share as a function of the factor is a staircase, which sorting lays out.

    Returns
    -------
    Given labels (N,); the probability (N,) float64 that each is wrong; the factor.

    Raises
    ------
    InputError : an unknown type; a rate that no factor reaches to 0.2 points.
    """
    choose("type of idn_pmd", noise_type, PMD_TYPES)
    n = len(labels)
    top_two = logits.double().softmax(1).topk(2)  # float64: margins next to 1 still differ
    first, second = top_two.indices.unbind(1)
    d = top_two.values[:, 0] - top_two.values[:, 1]
    f = {"I": (1 - d**2) / 2, "II": 1 - d**3, "III": 1 - (d**3 + d**2 + d) / 3}[noise_type]

    uniform = torch.rand(n, generator=generator, dtype=torch.float64)
    step = uniform / f  # a sample falls as soon as the factor exceeds its step
    order = step.argsort()
    falling = order[: int(step.isfinite().sum())]
    wrong_first, wrong_second = (first != labels).long(), (second != labels).long()
    change = (wrong_second - wrong_first)[falling]
    wrong = wrong_first.sum() + torch.cat([torch.zeros(1, dtype=torch.int64), change.cumsum(0)])
    number = int((wrong - rate * n).abs().argmin())
    if abs(int(wrong[number]) / n - rate) > max(PMD_TOLERANCE, 0.5 / n):
        raise InputError(
            f"idn_pmd of type {noise_type} cannot make {rate:.1%} of these labels wrong: with the factor from 0 to "
            f"infinity it makes {int(wrong.min()) / n:.1%} to {int(wrong.max()) / n:.1%} (less if its model is trained "
            "for more epochs)"
        )
    edges = torch.cat([torch.zeros(1, dtype=torch.float64), step[falling], step[falling][-1:] * 2])
    factor = float((edges[number] + edges[number + 1]) / 2)

    fall = step < factor
    given = torch.where(fall, second, first)
    p = (factor * f).clamp(max=1)
    return given, (1 - p) * wrong_first + p * wrong_second, factor


def idn_seal(mean_probs, labels, rate) -> torch.Tensor:
    """The round(rate N) samples with the most probable wrong class are given that class (Chen et al. 2021, SEAL).

    mean_probs (N, K) : softmax of a model trained on the true labels (N,), averaged over ALL its epochs, so that what
        it learnt late stays doubtful. Nothing else is random; the realised rate is exact.
    """
    doubt, target = mean_probs.scatter(1, labels[:, None], -1).max(1)
    chosen = doubt.argsort(descending=True, stable=True)[: round(rate * len(labels))]
    given = labels.clone()
    given[chosen] = target[chosen]
    return given
