"""Generalised cross-entropy, GCE (Zhang and Sabuncu, NeurIPS 2018), whole and truncated.

    L_q(p) = (1 - p^q) / q, p the probability of the given label: cross-entropy for q -> 0, absolute error for q = 1

    now and then, from a certain epoch on
        v = 1 for the samples with p > k, 0 for the others
    every epoch
        minimise v L_q(p) + (1 - v) L_q(k)

A sample whose label the network does not believe costs a constant, and teaches nothing until v is drawn anew.

The paper draws v with the best network so far, which the public code chooses by its test accuracy. Here the average
network of the moment does it, or the trained one without averaging: the `paper` preset has none. The paper divides its
learning rate twice, after a third and two thirds of the epochs (CIFAR-10); the engine's `step` does so once.
"""

from dataclasses import dataclass

import torch

from nlcore.basics.ranges import SHARE, Range, within
from nlcore.selection.division import keep_every_class

TITLE = "GCE"
SOURCE = "GCE (NeurIPS 2018)"


@dataclass(frozen=True)
class GCEConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    q : between cross-entropy (near 0), which learns fast, and absolute error (1), which tolerates noise. With the
        paper's 0.7 a short run does not get to the end of 26 classes.
    truncate_at : k, the probability up to which a sample teaches nothing; 0 = L_q on all samples, as it is.
    start : share of all epochs before the first v.
    refresh_every : epochs from one v to the next.
    keep_share : share of each given class, its smallest losses, that v keeps at least (our reconstruction; 0 = off): a
        class that the network has not learnt yet would never be learnt.
    """

    q: float = within(0.5, Range(above=0, high=1))
    truncate_at: float = within(0.5, Range(0, below=1))
    start: float = within(0.5, SHARE)
    refresh_every: int = within(1, Range(1))
    keep_share: float = within(0.5, SHARE)


PRESETS = {"tuned": GCEConfig(), "paper": GCEConfig(q=0.7, start=1 / 3, refresh_every=10, keep_share=0.0)}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """The paper's training on CIFAR, in the `paper` preset: with the `long` budget its network and length too."""
    if config.preset != "paper" or config.dataset not in ("cifar10", "cifar100"):
        return ()
    hundred = config.dataset == "cifar100"
    rows = [({"learning_rate": 0.01, "weight_decay": 1e-4, "batch_size": 128}, SOURCE)]
    if hundred:
        rows.append(({"start": 80 / 150}, SOURCE))
    if config.budget == "long":
        rows.append(({"network": "resnet34", "epochs": 150 if hundred else 120}, SOURCE))
    return tuple(rows)


def prepare(look, state, settings: GCEConfig, memory: dict) -> None:
    """Draw v anew where it is due: `memory["kept"]` is (full_size,) bool.

    Where every epoch draws other samples (`balanced_images`), it is due in every epoch, since v knows the samples of
    one epoch only.
    """
    since = state.epoch - round(settings.start * state.config.epochs)
    every = 1 if state.pool is not None else settings.refresh_every
    if settings.truncate_at == 0 or since < 0 or since % every:
        return
    losses = look().losses
    kept = (-losses).exp() > settings.truncate_at
    kept |= keep_every_class(kept, losses, state.given_labels, state.num_classes, settings.keep_share)
    memory["kept"] = torch.ones(state.full_size, dtype=torch.bool, device=kept.device)
    memory["kept"][state.index] = kept


def batch_loss(batch, settings: GCEConfig, memory: dict) -> torch.Tensor:
    """Mean of L_q, truncated where v is 0: a scalar."""
    log_prob = batch.logits.log_softmax(1).gather(1, batch.labels[:, None]).squeeze(1)
    losses = l_q(log_prob, settings.q)
    if "kept" in memory:
        constant = (1 - settings.truncate_at**settings.q) / settings.q
        losses = torch.where(memory["kept"][batch.index], losses, constant)
    return losses.mean()


def l_q(log_prob: torch.Tensor, q: float) -> torch.Tensor:
    """(1 - p^q) / q of log p (B,): (B,). From the logarithm, so that p = 0 has a gradient too."""
    return -torch.expm1(q * log_prob) / q
