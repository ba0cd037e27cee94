"""From an order of suspicion to numbers that can be believed: how many labels are wrong, and how sure is each.

The truth is not known, but what a wrong label would look like is: give samples other labels on purpose, and ask for the
same score. Wrong labels are planted where labels seem to go wrong, in those classes and in that way. Comparing the
scores of the given labels with theirs tells how many of the given ones are wrong, and at which score (our
reconstruction; the idea that a distribution is a mixture of a known one and a rest is Blanchard, Lee and Scott's, JMLR
2010).
"""

from dataclasses import dataclass

import numpy as np
import torch

from nlcore.audit.evidence import HOPELESS, given_label_prob, kappa
from nlcore.basics.chance import stream

ISSUE_BELOW = 0.5  # a label is called an issue when it is more likely wrong than right
# How much planted labels prefer the classes that a sample looks like, and the share of them that a cut leaves below it:
# with the first pair hardly a right label is taken for a wrong one, with the second hardly a wrong one is missed.
FEWEST, MOST = (0.0, 0.3), (1.0, 0.7)
DEPTHS = (0.05, 0.1, 0.2, 0.3)  # at which the lower end of the interval is looked for
UPPER_SHARE = 1 / 3  # of the upper count in the estimate: more, and right labels of hard samples make it too high
LIKENESS = 0.5  # of the planted labels that qualities are made with
PLANTED = 5  # planted labels for each right one, so that their distribution is smooth
MOST_PLANTED = 200_000


@dataclass(frozen=True)
class Quality:
    """How good given labels are.

    Attributes
    ----------
    label_quality : (N,) float64, probability that the given label is right.
    opinion : (N, K) float64, the opinion it was made of once the given labels are weighed in, see `weighed`.
    wrong : estimated number of wrong labels, and the lower and upper end of an interval: what is said of it is true of
        most data, not of 19 in 20, for whoever is hard to tell from a wrong label is counted as one.
    """

    label_quality: torch.Tensor
    opinion: torch.Tensor
    wrong: tuple[float, float, float]


def log_odds(opinion: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log odds (N,) float64 of labels (N,) under probabilities (N, K): low = suspicious. Never infinite."""
    logs = opinion.double().clamp(min=1e-12).log()
    others = logs.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return given_label_prob(logs, labels) - others


def transition(opinion: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """T[c, k], estimated share of given label k among samples of true class c: (K, K), rows sum to 1.

    Each sample counts for its most probable class, if that is believed at least as much as the class's own samples are
    on average: cleanlab's confident joint (Northcutt et al., JAIR 2021).
    """
    num_classes = opinion.shape[1]
    own = given_label_prob(opinion, labels)
    count = torch.bincount(labels, minlength=num_classes).clamp(min=1)
    bar = torch.zeros(num_classes, dtype=opinion.dtype).index_add(0, labels, own) / count
    sure, true = opinion.masked_fill(opinion < bar, -1).max(1)
    rows = (sure >= 0).nonzero().flatten()
    joint = torch.zeros(num_classes, num_classes, dtype=torch.float64)
    joint.index_put_((true[rows], labels[rows]), torch.ones(len(rows), dtype=torch.float64), accumulate=True)
    joint += 1e-3 * torch.eye(num_classes, dtype=torch.float64)  # a class that nobody is sure of is right
    return joint / joint.sum(1, keepdim=True)


def likely_errors(opinion: torch.Tensor, spread: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How likely class c (row) is given label k (column), for `weighed`: the transition T (K, K), damped.

    What a transition counts is errors of labels and doubts of the models alike. The more certain opinions (N, K) are,
    the less of it is doubt: T is raised to the square of 1 - their mean entropy, as a share of the largest one.
    """
    entropy = -(opinion * opinion.clamp(min=1e-12).log()).sum(1).mean() / np.log(opinion.shape[1])
    return (spread + 1 / len(labels)) ** float((1 - entropy) ** 2)


def weighed(opinion: torch.Tensor, labels: torch.Tensor, likely: torch.Tensor) -> torch.Tensor:
    """The opinion (N, K) of who knows the given labels (N,) too, by Bayes' rule: p_c likely[c, label], rows sum to 1.

    Of two labels that the models doubt alike, the one that is often given in error is doubted more: people call many
    a truck an automobile, hardly a truck a frog.
    """
    product = opinion.double().clamp(min=1e-12) * likely[:, labels].T
    return product / product.sum(1, keepdim=True)


def plant(
    opinion: torch.Tensor,
    labels: torch.Tensor,
    likeness: float,
    spread: torch.Tensor,
    count: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Wrong labels for right ones, in the classes and in the way in which labels go wrong: rows (M,), labels (M,).

    A sample of class c is drawn in proportion to the odds that a label of its class is wrong: a class that is labelled
    well has hardly any, and would only show how impossible labels score that nobody gives. It is given class k with a
    probability of T[c, k] p_k^likeness.

    Parameters
    ----------
    opinion, labels : (N, K) and (N,), right ones.
    likeness : of errors that depend on the class alone 0; people also confuse what looks alike.
    spread : the transition T (K, K).
    count : M, of wrong labels.
    """
    unseen = 1 / (len(labels) * (len(spread) - 1))  # as if one label more were wrong, any one: all is possible
    wrong = (spread + unseen).fill_diagonal_(0)
    odds = wrong.sum(1) / spread.diag().clamp(min=0.5)  # never infinite: who learns a class believes half its labels
    rows = torch.multinomial(odds[labels], count, replacement=True, generator=generator)
    weight = wrong[labels[rows]] * opinion[rows].clamp(min=1e-6) ** likeness
    return rows, torch.multinomial(weight, 1, generator=generator).squeeze(1)


def quality(opinion: torch.Tensor, labels: torch.Tensor, seed: int = 0) -> Quality:
    """Calibrated quality of given labels (N,) from an opinion (N, K) that has not learnt them by heart.

    The opinion is weighed by how labels go wrong; so are those on planted labels.

    The number of wrong labels lies between two counts, made with planted labels that are easy to tell and hard to tell,
    and so does the estimate. Where people err on what is hard to see the truth is near the upper end, where labels
    were mixed up blindly near the lower one: from the labels alone nobody can tell. Where labels are hardly foretold
    right ones score as planted ones do. There the estimate is the lower end of the interval, what must be wrong, and
    that the smaller, the less is foretold.
    """
    n, spread = len(labels), transition(opinion, labels)
    likely = likely_errors(opinion, spread, labels)
    known = weighed(opinion, labels, likely)
    scores = log_odds(known, labels)
    believed = (opinion.argmax(1) == labels).nonzero().flatten()
    if len(believed) == 0:
        return Quality(torch.full_like(scores, 0.5), known, (n / 2, 0.0, float(n)))
    count = min(PLANTED * len(believed), MOST_PLANTED)
    generator = torch.Generator().manual_seed(stream(seed, "planted"))
    seen = opinion[believed]

    def planted(likeness: float) -> torch.Tensor:
        rows, wrong = plant(seen, labels[believed], likeness, spread, count, generator)
        return log_odds(weighed(seen[rows], wrong, likely), wrong)

    blind, alike = planted(FEWEST[0]), planted(MOST[0])
    low, high = sorted((share_wrong(scores, blind, FEWEST[1]), share_wrong(scores, alike, MOST[1])))
    share = (1 - UPPER_SHARE) * low + UPPER_SHARE * high
    least = min((share_wrong(scores, blind, depth), depth) for depth in DEPTHS)
    ends = max(0.0, min(low, least[0] - _error(*least, n))), min(1.0, high + _error(high, MOST[1], n))
    if (agreement := kappa(opinion, labels)) < HOPELESS:
        share = ends[0] * max(0.0, agreement) / HOPELESS
        ends = share, ends[1]
    chances = chance_wrong(scores, planted(LIKENESS), share)
    return Quality(1 - chances, known, (n * share, n * ends[0], n * ends[1]))


def share_wrong(scores: torch.Tensor, planted: torch.Tensor, depth: float) -> float:
    """Share of wrong labels if these scored as planted ones, and only these at or below the cut with `depth` of
    them."""
    cut = torch.quantile(_thinned(planted), depth)
    return min(1.0, float((scores <= cut).double().mean()) / float((planted <= cut).double().mean()))


def _error(share: float, depth: float, n: int) -> float:
    """Half of a 95 % interval of a share of n that was seen at a depth; one more is added, or nothing seen would be
    nothing there."""
    return 1.96 * (share * depth * n + 1) ** 0.5 / (depth * n)


def chance_wrong(scores: torch.Tensor, planted: torch.Tensor, share: float) -> torch.Tensor:
    """Probability (N,) that each label is wrong, which falls with its score.

    Planted labels, weighted as if there were as many as wrong ones, against the given ones: the chance g that a score
    is of a planted one is monotone regression's, and g / (1 - g) the ratio of the two densities.
    """
    from sklearn.isotonic import IsotonicRegression

    weight = share * len(scores) / len(planted)
    x = torch.cat([planted, scores]).numpy()
    y = np.repeat([1.0, 0.0], [len(planted), len(scores)])
    fit = IsotonicRegression(increasing=False, y_min=0, y_max=0.5, out_of_bounds="clip")
    g = torch.from_numpy(fit.fit(x, y, np.where(y > 0, weight, 1.0)).predict(scores.numpy()))
    return (g / (1 - g)).clamp(0, 1)


def _thinned(values: torch.Tensor, most: int = 1_000_000) -> torch.Tensor:
    """Values that torch's quantile takes, which are 16 million at most."""
    return values if len(values) <= most else values[:: -(-len(values) // most)]
