"""The two values between training and selecting: what a network sees, and what a method decides about it."""

import logging
from dataclasses import dataclass, field, replace

import torch

from nlcore.data.datasets import rank_in_class

log = logging.getLogger(__name__)

ALL = "labelled"  # the one set of a method that divides nothing


@dataclass(frozen=True)
class Snapshot:
    """What a network sees of N samples, in evaluation mode and without augmentation.

    Attributes
    ----------
    logits : (N, K) float32.
    features : (N, d) float32, pooled.
    losses : (N,) float32, cross-entropy of the given labels.
    index : (N,) int64, rows of the whole training set, for what is remembered of each sample; None for other samples.
    heads : outputs of the method's extra heads by name, each (N, m) float32.
    progress : share of the epochs after warm-up that are over. A run says it before it divides; else all are.
    """

    logits: torch.Tensor
    features: torch.Tensor
    losses: torch.Tensor
    index: torch.Tensor | None = None
    heads: dict[str, torch.Tensor] = field(default_factory=dict)
    progress: float = 1.0

    @property
    def probs(self) -> torch.Tensor:
        """Softmax of the logits, (N, K)."""
        return self.logits.softmax(1)


@dataclass(frozen=True)
class Division:
    """What a method decides about N samples; semi-supervised training needs nothing else.

    Attributes
    ----------
    set_names : names of the sets, e.g. ("positive", "negative", "mined", "uncertain").
    membership : (N,) int64, the set that each sample was put in.
    labelled : (N,) bool, trained with its target; the rest is trained without any label.
    target : (N,) int64, the label to train with: the given or a corrected one.
    weight : (N,) float32 in [0, 1], trust in the target when it is refined.
    clean_prob : (N,) float32 in [0, 1], how probable the GIVEN label is to the method; for an order, not calibrated.
    """

    set_names: tuple[str, ...]
    membership: torch.Tensor
    labelled: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    clean_prob: torch.Tensor


def everything_labelled(snapshot: Snapshot, given_labels: torch.Tensor) -> Division:
    """The division of a method that divides nothing: one set, every given label (N,) believed."""
    ones, labelled = torch.ones_like(snapshot.losses), torch.ones_like(given_labels, dtype=torch.bool)
    return Division((ALL,), torch.zeros_like(given_labels), labelled, given_labels, ones, ones)


def cap_every_class(
    selected: torch.Tensor, scores: torch.Tensor, given_labels: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """The selected samples (N,) bool, cut in every given class to the mean number a class: its highest scores stay.

    Scores (N,) are not negative.
    """
    cap = selected.sum() / num_classes
    best_first = rank_in_class(-scores.masked_fill(~selected, -1), given_labels, num_classes)
    return selected & (best_first < cap)


def keep_every_class(
    labelled: torch.Tensor, losses: torch.Tensor, given_labels: torch.Tensor, num_classes: int, share: float
) -> torch.Tensor:
    """Samples (N,) bool to add to the labelled set, so that every given class keeps its `share` of lowest losses.

    Only classes that have fewer labelled samples than that are topped up (our reconstruction: a class that vanishes
    from the labelled set never comes back, and precision does not show it). An empty labelled set is repaired the same
    way.
    """
    counts = torch.bincount(given_labels, minlength=num_classes)
    kept = torch.bincount(given_labels[labelled], minlength=num_classes)
    wanted = (share * counts).ceil().long()
    rank = rank_in_class(losses, given_labels, num_classes)
    return ~labelled & (kept < wanted)[given_labels] & (rank < wanted[given_labels])


def with_every_class(
    division: Division, snapshot: Snapshot, given_labels: torch.Tensor, trust: torch.Tensor, home: str, share: float
) -> Division:
    """The division after `keep_every_class`: added samples join the set called `home`, with their given label.

    trust (N,) : their weight.
    """
    num_classes = snapshot.logits.shape[1]
    added = keep_every_class(division.labelled, snapshot.losses, given_labels, num_classes, share)
    if not bool(added.any()):
        return division
    log.info("division: %d samples added to %r, so that no class vanishes", int(added.sum()), home)
    return replace(
        division,
        labelled=division.labelled | added,
        membership=division.membership.masked_fill(added, division.set_names.index(home)),
        target=torch.where(added, given_labels, division.target),
        weight=torch.where(added, trust, division.weight),
    )
