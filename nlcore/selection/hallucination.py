"""Anchors between classes: a small network dreams up features that lie between two easy samples.

An anchor made from easy samples i and j, of different classes, should still be classified as the class of i, and lie
between the two. The learned hallucinator is the paper's; plain interpolation is kept beside it, because the honest
question of this method is what the learning buys.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from nlcore.selection.streams import class_means


@dataclass(frozen=True)
class Anchors:
    """M features with a class each.

    Attributes
    ----------
    features : (M, d) float32.
    labels : (M,) int64, the class of the first parent.
    parents : (M, 2) int64, rows of the easy samples that each was made from.
    """

    features: torch.Tensor
    labels: torch.Tensor
    parents: torch.Tensor


class Hallucinator(nn.Module):
    """Two-layer MLP on two concatenated features: (B, d), (B, d) -> (B, d).

    `non_negative` anchors suit pooled ReLU features; those of a pre-activation network have both signs.
    """

    def __init__(self, dim: int, non_negative: bool = True):
        super().__init__()
        last = nn.ReLU() if non_negative else nn.Identity()
        self.layers = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, dim), last)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([first, second], 1))


def new_memory(dim: int, non_negative: bool, device: torch.device) -> dict:
    """A fresh hallucinator of features (., dim), and its optimiser."""
    hallucinator = Hallucinator(dim, non_negative).to(device)
    optimiser = torch.optim.Adam(hallucinator.parameters(), lr=1e-3, fused=True)
    return {"hallucinator": hallucinator, "optimiser": optimiser, "non_negative": non_negative}


def draw_pairs(labels: torch.Tensor, per_class: int, generator: torch.Generator) -> torch.Tensor:
    """Pairs of easy samples from different classes, `per_class` for each class that occurs: (M, 2) int64.

    labels (E,) are the classes of the easy samples. The first of a pair is drawn inside its class, the second among all
    other samples. Fewer than two classes give no pair.
    """
    device = labels.device
    counts = torch.bincount(labels)
    present = (counts > 0).nonzero().flatten()
    if len(present) < 2:
        return torch.empty(0, 2, dtype=torch.int64, device=device)
    order = labels.argsort(stable=True)
    start = counts.cumsum(0) - counts
    wanted = present.repeat_interleave(per_class)
    first, second = torch.rand(2, len(wanted), generator=generator, device=device, dtype=torch.float64)
    first = start[wanted] + (first * counts[wanted]).long()
    # Sorted by class and read in a circle, everything after a class's own block is another class.
    others = len(labels) - counts[wanted]
    second = (start[wanted] + counts[wanted] + (second * others).long()) % len(labels)
    return torch.stack([order[first], order[second]], 1)


def hallucination_loss(
    anchors: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    logits: torch.Tensor,
    labels: torch.Tensor,
    lambda_p: float,
    similarity_weight: float,
    centre: torch.Tensor | None = None,
    norm_penalty: float = 0.0,
) -> torch.Tensor:
    """Classification plus position: L_cls + similarity_weight L_sim + norm_penalty L_norm, a scalar.

    L_cls is the cross-entropy of the frozen classifier's logits (B, K) of the anchors (B, d) against the class of the
    first parent; L_sim = 1 - [lambda_p cos(anchor, first) + (1 - lambda_p) cos(anchor, second)]. lambda_p = 1 asks
    for a copy of the first parent, 0.5 for the middle.

    With `centre` (d,) the cosines are those of features minus the centre: raw pooled features all point the same way,
    so that raw cosines leave lambda_p without effect. L_norm is the squared relative deviation of an anchor's length
    from its parents'; without it lengths inflate (both our reconstruction).
    """
    loss = F.cross_entropy(logits, labels)
    offset = 0 if centre is None else centre
    near_first = F.cosine_similarity(anchors - offset, first - offset)
    near_second = F.cosine_similarity(anchors - offset, second - offset)
    loss = loss + similarity_weight * (1 - lambda_p * near_first - (1 - lambda_p) * near_second).mean()
    if norm_penalty:
        expected = lambda_p * first.norm(dim=1) + (1 - lambda_p) * second.norm(dim=1)
        loss = loss + norm_penalty * (anchors.norm(dim=1) / expected.clamp(min=1e-6) - 1).square().mean()
    return loss


def train_hallucinator(
    hallucinator: Hallucinator,
    optimiser: torch.optim.Optimizer,
    features: torch.Tensor,
    labels: torch.Tensor,
    classify,
    steps: int,
    generator: torch.Generator,
    batch_size: int = 256,
    **loss_options,
) -> None:
    """Phase one of the alternation: `steps` updates on pairs of easy features (E, d), classifier and features frozen.

    `classify` maps features to logits; `loss_options` are those of `hallucination_loss`. Fewer than two classes among
    `labels` (E,) leave the hallucinator as it is.
    """
    num_classes = max(1, len(labels.unique()))
    for _ in range(steps):
        pairs = draw_pairs(labels, -(-batch_size // num_classes), generator)
        if len(pairs) == 0:
            return
        first, second = features[pairs[:, 0]], features[pairs[:, 1]]
        anchors = hallucinator(first, second)
        loss = hallucination_loss(anchors, first, second, classify(anchors), labels[pairs[:, 0]], **loss_options)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def hallucinate(
    hallucinator: Hallucinator, features: torch.Tensor, labels: torch.Tensor, pairs: torch.Tensor
) -> Anchors:
    """The learned anchors of `pairs` (M, 2) of easy features (E, d)."""
    with torch.no_grad():
        anchors = hallucinator(features[pairs[:, 0]], features[pairs[:, 1]])
    return Anchors(anchors, labels[pairs[:, 0]], pairs)


def interpolate(features: torch.Tensor, labels: torch.Tensor, pairs: torch.Tensor, share: float = 0.6) -> Anchors:
    """Anchors without learning: share first + (1 - share) second. The comparison that the hallucinator has to beat."""
    anchors = share * features[pairs[:, 0]] + (1 - share) * features[pairs[:, 1]]
    return Anchors(anchors, labels[pairs[:, 0]], pairs)


def describe_anchors(
    anchors: Anchors, features: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
) -> dict[str, float]:
    """Is it copying, drifting or collapsing? Measured on anchors whose classifier logits are (M, K).

    `cos_first`, `cos_second`: mean cosine to both parents, centred on the mean easy feature. `drift`: share classified
    as the second parent's class. `spread`: variance inside the classes relative to the easy features' own; near 0 means
    one anchor whatever the input, the collapse that the paper warns of. `rank`: effective rank of the centred anchors,
    exp(entropy of the normalised covariance eigenvalues).
    """
    centre = features.mean(0)
    first, second = features[anchors.parents[:, 0]], features[anchors.parents[:, 1]]
    num_classes = logits.shape[1]
    spread = _variance_within(anchors.features, anchors.labels, num_classes)
    natural = _variance_within(features, labels, num_classes)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(anchors.features.double().T)).clamp(min=0)
    share = eigenvalues / eigenvalues.sum().clamp(min=1e-12)
    return {
        "cos_first": float(F.cosine_similarity(anchors.features - centre, first - centre).mean()),
        "cos_second": float(F.cosine_similarity(anchors.features - centre, second - centre).mean()),
        "drift": float((logits.argmax(1) == labels[anchors.parents[:, 1]]).float().mean()),
        "spread": float(spread / natural.clamp(min=1e-12)),
        "rank": float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum())),
    }


def _variance_within(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Mean squared distance to the mean of the own class."""
    return (features - class_means(features, labels, num_classes)[labels]).square().sum(1).mean()
