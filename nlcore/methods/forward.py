"""Forward correction (Patrini et al., CVPR 2017): the network is told how labels go wrong, not which ones did.

    warm up with plain cross-entropy
    once: estimate the transition T, T[c, k] = probability that class c is labelled k
    every epoch: minimise -log (p T)[given label], with p the network's probabilities

The network may then be sure of the true class and still predict the noisy labels.

The paper trains one network for T, keeps its epoch of lowest validation loss, and trains a second one from scratch.
Here the one network goes on after a warm-up that is short enough to have learnt few wrong labels by heart (our
reconstruction). The public code looks for anchor points in probabilities of which it has zeroed the highest of every
earlier class; ours leaves them. The paper divides its learning rate twice, after a third and two thirds of the epochs
(CIFAR-10); the engine's `step` does so once.
"""

from dataclasses import dataclass

import torch

from nlcore.basics.errors import choose
from nlcore.basics.ranges import Range, within
from nlcore.selection.voting import estimate_transition

TITLE = "Forward"
ESTIMATES = ("confusion", "anchor_points")
SOURCE = "Forward correction (CVPR 2017), public code"


@dataclass(frozen=True)
class ForwardConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    estimate : of T. `anchor_points`, the paper's: what the network predicts for one sample of each class, among those
        of which it is surest; `confusion`: shares of the given labels among all samples, each counted for a class as
        much as the network believes in it, see `nlcore.selection.voting.estimate_transition` (our reconstruction).
    percentile : of the probabilities of a class; the sample there is its anchor point. 100 = the surest.
    """

    estimate: str = "confusion"
    percentile: float = within(97.0, Range(0, 100))

    def __post_init__(self):
        choose("estimate", self.estimate, ESTIMATES)


PRESETS = {"tuned": ForwardConfig(), "paper": ForwardConfig(estimate="anchor_points")}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """A warm-up before T; in the `paper` preset the paper's training on CIFAR, with the `long` budget its length
    too."""
    rows = [({"warmup": 0.3}, "our choice: T before wrong labels are learnt by heart")]
    if config.preset == "paper" and config.dataset in ("cifar10", "cifar100"):
        hundred = config.dataset == "cifar100"
        rows.append(({"learning_rate": 0.1, "weight_decay": 1e-3 if hundred else 1e-4, "batch_size": 128}, SOURCE))
        if hundred:
            rows.append(({"percentile": 100.0}, SOURCE))
        if config.budget == "long":
            rows.append(({"epochs": 150 if hundred else 120}, SOURCE))
    return tuple(rows)


def prepare(look, state, settings: ForwardConfig, memory: dict) -> None:
    """Estimate T, once: `memory["transition"]` is (K, K)."""
    if "transition" in memory:
        return
    snapshot = look()
    if settings.estimate == "confusion":
        memory["transition"] = estimate_transition(snapshot.logits, state.given_labels)
    else:
        memory["transition"] = anchor_points(snapshot.probs, settings.percentile)


def anchor_points(probs: torch.Tensor, percentile: float) -> torch.Tensor:
    """T (K, K) of a network's probabilities (N, K) of noisy labels: row c is that of the anchor point of class c.

    The anchor point is the sample at a percentile of p_c, rounded down: a true member of a class is predicted as its
    labels are distributed, and the few that lie above may be outliers.
    """
    rank = int(percentile / 100 * (len(probs) - 1))
    return probs[probs.argsort(stable=True, dim=0)[rank]]


def batch_loss(batch, settings: ForwardConfig, memory: dict) -> torch.Tensor:
    """Mean of -log (p T)[label]: a scalar."""
    log_transition = memory["transition"].clamp(min=1e-12).log()
    # Sum of p_c T[c, label] over the classes, in logarithms: p may underflow.
    log_prob = (batch.logits.log_softmax(1) + log_transition.T[batch.labels]).logsumexp(1)
    return -log_prob.mean()
