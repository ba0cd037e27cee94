"""Two streams look at the same training set: how well is a label learnt, and does it sit among its own kind?

The loss stream fits a mixture to the losses of the given labels (DivideMix). The feature stream fits one to how similar
a sample is to the others that carry its label (PSDC). Nothing here builds an N x N matrix: the row sum of a class's
cosine affinity is a product with the class's summed features, O(N d).
"""

from typing import Any

import torch
import torch.nn.functional as F

from nlcore.basics.errors import choose
from nlcore.selection.division import Snapshot
from nlcore.selection.mixture import ashman_distance, fit_mixture, low_component

PROTOTYPE_SCALE = 20.0  # of the cosines where both streams give an opinion
LASTING = 0.8  # share of the opinions before in the remembered one


def min_max(values: torch.Tensor) -> torch.Tensor:
    """Scale values (N,) to [0, 1]; equal values become 0."""
    spread = values.max() - values.min()
    return (values - values.min()) / spread.clamp(min=1e-12)


def agreement(logits: torch.Tensor, given_labels: torch.Tensor) -> float:
    """Share of the given labels (N,) that a network's logits (N, K) predict."""
    return float((logits.argmax(1) == given_labels).float().mean())


def loss_stream(
    losses: torch.Tensor,
    given_labels: torch.Tensor,
    num_classes: int,
    per_class_from: int | None,
    one_sided: bool = False,
) -> torch.Tensor:
    """Probability that each label is clean, from its loss: (N,) float32.

    One mixture for all losses, scaled to [0, 1], as in DivideMix; with `per_class_from` one for each given class that
    has at least so many samples on average (our reconstruction: a noisy class is judged by its own scale). `one_sided`:
    see `Mixture.posterior`.
    """
    scaled = min_max(losses.double())
    if per_class_from is None or len(losses) < per_class_from * num_classes:
        return low_component(scaled, one_sided=one_sided).float()
    return low_component(scaled, given_labels, num_classes, one_sided=one_sided).float()


def class_means(
    features: torch.Tensor, labels: torch.Tensor, num_classes: int, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Weighted mean of the features (N, d) of each label: (K, d). A class without weight gets zeros."""
    weight = torch.ones_like(features[:, 0]) if weight is None else weight
    sums = features.new_zeros(num_classes, features.shape[1]).index_add(0, labels, features * weight[:, None])
    mass = weight.new_zeros(num_classes).index_add(0, labels, weight)
    return sums / mass.clamp(min=1e-12)[:, None]


def row_sums(features: torch.Tensor, given_labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Sum over j of cos(i, j) over the samples j that share the given label of i, including itself: (N,) (PSDC)."""
    unit = F.normalize(features, dim=1)
    sums = unit.new_zeros(num_classes, unit.shape[1]).index_add(0, given_labels, unit)
    return (unit * sums[given_labels]).sum(1)


def class_margin(
    features: torch.Tensor, given_labels: torch.Tensor, num_classes: int, weight: torch.Tensor
) -> torch.Tensor:
    """Cosine to the mean of the given class minus the largest cosine to another class's mean: (N,) (our
    reconstruction).

    The means are weighted by `weight` (N,), the loss stream's probability, so that wrong labels hardly move them.
    """
    # Dividing (N, K) cosines by the norms costs less than normalising (N, d) features in every round.
    norms = features.norm(dim=1).clamp(min=1e-12)
    means = F.normalize(class_means(features, given_labels, num_classes, weight / norms), dim=1)
    cosines = features @ means.T / norms[:, None]
    own = cosines.gather(1, given_labels[:, None])
    others = cosines.scatter(1, given_labels[:, None], -torch.inf)
    return (own.squeeze(1) - others.amax(1)).float()


def prototype_loss(
    features: torch.Tensor,
    given_labels: torch.Tensor,
    num_classes: int,
    weight: torch.Tensor | None = None,
    scale: float = 10.0,
) -> torch.Tensor:
    """Cross-entropy of the given label under scale cos(feature, class mean), features centred: (N,) (our
    reconstruction).

    Class means average a class's instance-dependent errors away, which the network's own loss has already learnt; with
    a `weight` (N,) of trust they are weighted.
    """
    unit = F.normalize(features - features.mean(0), dim=1)
    means = F.normalize(class_means(unit, given_labels, num_classes, weight), dim=1)
    return F.cross_entropy(scale * unit @ means.T, given_labels, reduction="none")


def feature_stream(
    scores: torch.Tensor,
    given_labels: torch.Tensor,
    num_classes: int,
    per_class: bool = True,
    one_sided: bool = False,
) -> torch.Tensor:
    """Probability that each label is clean, from its similarity score (high = clean): (N,) float32.

    Scores are scaled to [0, 1] inside each given class and get one mixture a class, as in PSDC. Without `per_class`,
    all are scaled together and get one mixture (our reconstruction: a class in which nothing is wrong, or most of it
    is, is then not split as if it were like the others). `one_sided`: see `Mixture.posterior`.
    """
    # The mixture finds the low component, so it is given the distance from the top.
    if not per_class:
        return low_component(min_max(-scores.double()), one_sided=one_sided).float()
    distance = distance_from_top(scores, given_labels, num_classes)
    return low_component(distance, given_labels, num_classes, one_sided=one_sided).float()


def distance_from_top(scores: torch.Tensor, given_labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Scores (N,) turned round and scaled inside each given class: the highest becomes 0, the lowest 1; float64."""
    scores = scores.double()
    low = scores.new_full((num_classes,), torch.inf).scatter_reduce(0, given_labels, scores, "amin")
    high = scores.new_full((num_classes,), -torch.inf).scatter_reduce(0, given_labels, scores, "amax")
    return (high[given_labels] - scores) / (high - low).clamp(min=1e-12)[given_labels]


def undivided_classes(
    scores: torch.Tensor, given_labels: torch.Tensor, num_classes: int, distance: float
) -> torch.Tensor:
    """Given classes whose scores show one kind of sample only: (K,) bool (our reconstruction).

    A mixture of two splits every class in two, also one without a wrong label. A class counts as undivided when the
    components of its scores (N,) are less than `distance` apart, see `ashman_distance`; an empty one does not.
    """
    mixture = fit_mixture(distance_from_top(scores, given_labels, num_classes), given_labels, num_classes)
    occurs = torch.bincount(given_labels, minlength=num_classes) > 0
    return occurs & (ashman_distance(mixture) < distance)


COMBINATIONS = ("agreement", "mean", "product", "loss", "feature", "joint")


def certain_sets(
    p_loss: torch.Tensor,
    p_feature: torch.Tensor,
    tau: float,
    combination: str = "agreement",
    values: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Certain positives and certain negatives, two (N,) bool; a sample in neither is uncertain (TSSD's PSD).

    `agreement`, the method's own: both probabilities above tau, or both below 1 - tau. The others are for comparison
    and cut one probability p at tau and 1 - tau: the `mean` or `product` of the two, `loss` or `feature` alone, or
    `joint`, a two-dimensional mixture of `values` (N, 2) = (scaled loss, scaled dissimilarity).
    """
    choose("combination", combination, COMBINATIONS)
    if combination == "agreement":
        return (p_loss > tau) & (p_feature > tau), (p_loss < 1 - tau) & (p_feature < 1 - tau)
    if combination == "joint":
        p = joint_probability(values)
    else:
        p = {"mean": (p_loss + p_feature) / 2, "product": p_loss * p_feature, "loss": p_loss, "feature": p_feature}[
            combination
        ]
    return p > tau, p < 1 - tau


def joint_probability(values: torch.Tensor) -> torch.Tensor:
    """Probability of the component nearer to the origin of a two-dimensional mixture of values (N, 2): (N,) float32."""
    from sklearn.mixture import GaussianMixture

    points = values.double().cpu().numpy()
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(points)
    clean = mixture.means_.sum(1).argmin()
    return torch.from_numpy(mixture.predict_proba(points)[:, clean]).float().to(values.device)


def lasting_opinion(
    snapshot: Snapshot, given_labels: torch.Tensor, trust: torch.Tensor, trust_from: float, memory: dict[str, Any]
) -> torch.Tensor:
    """What both streams have thought of each given label, over the divisions: (N,) float32 in [0, 1] (our
    reconstruction).

    The geometric mean of the label's probability under the network and under the class means weighted by `trust` (N,),
    over the divisions: each further one counts a fifth, those before it four fifths. Class means are asked where the
    network predicts at least the share `trust_from` of the given labels. It is an order: a mixture's posterior is 0 or
    1 for most labels, and a network forgets today what it doubted yesterday, because it has learnt the label since.
    `memory` keeps the mean loss; it begins anew with other images.
    """
    loss = F.cross_entropy(snapshot.logits, given_labels, reduction="none")  # `losses` may be scaled, of several epochs
    if agreement(snapshot.logits, given_labels) >= trust_from:
        num_classes = snapshot.logits.shape[1]
        loss = (loss + prototype_loss(snapshot.features, given_labels, num_classes, trust, PROTOTYPE_SCALE)) / 2
    rows = torch.arange(len(loss), device=loss.device) if snapshot.index is None else snapshot.index
    if "opinion" in memory and torch.equal(memory["opinion_of"], rows):
        loss = LASTING * memory["opinion"] + (1 - LASTING) * loss
    memory |= {"opinion": loss, "opinion_of": rows}
    return (-loss).exp()
