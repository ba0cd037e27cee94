"""MixUp alone (Zhang et al., ICLR 2018): mixed samples with equally mixed given labels, and nothing else.

    lambda ~ Beta(alpha, alpha)
    x = lambda x_i + (1 - lambda) x_j,    y = lambda y_i + (1 - lambda) y_j,    j a random permutation of the batch

It is a part of every method here that ends in MixMatch: what is left of their lead over it is due to their division.

Lambda is replaced by max(lambda, 1 - lambda), as in MixMatch: since the permutation is random, every batch is as likely
as before. The paper divides its learning rate twice, after half and three quarters of the epochs; the engine's `step`
does so once.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nlcore.basics.ranges import Range, within

TITLE = "MixUp"
SOURCE = "mixup (ICLR 2018), its runs on corrupted labels"


@dataclass(frozen=True)
class MixUpConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    mixup_alpha : alpha; the larger, the nearer lambda is to one half.
    """

    mixup_alpha: float = within(1.0, Range(above=0))


PRESETS = {"tuned": MixUpConfig(), "paper": MixUpConfig(mixup_alpha=8.0)}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """In the `paper` preset: stronger mixing for more noise, and the paper's training on CIFAR, with the `long` budget
    its length too."""
    if config.preset != "paper":
        return ()
    rows = []
    if config.rate is not None and config.rate >= 0.35:  # 8 for its 20 %, 32 for its 50 and 80 %
        rows.append(({"mixup_alpha": 32.0}, SOURCE))
    if config.dataset in ("cifar10", "cifar100"):
        rows.append(({"learning_rate": 0.1, "weight_decay": 1e-4, "batch_size": 128}, SOURCE))
        if config.budget == "long":
            rows.append(({"epochs": 200}, SOURCE))
    return tuple(rows)


def own_epoch(steps, divisions, settings: MixUpConfig) -> float:
    """One epoch of every network; returns the mean loss."""
    losses = [mixup_epoch(steps, learner, settings.mixup_alpha) for learner in steps.state.learners]
    return sum(losses) / len(losses)


def mixup_epoch(steps, learner, alpha: float) -> float:
    """One epoch of one network on mixed weak views."""
    state, labels = steps.state, steps.state.given_labels
    rows = torch.arange(len(labels), device=labels.device)
    count, total = steps.count(len(rows)), torch.zeros((), device=labels.device)
    learner.student.train()
    for batch in steps.batches(rows, count):
        batch = steps.own(batch)
        if len(batch) < 2:  # batch norm needs two samples
            continue
        one_hot = F.one_hot(labels[batch], state.num_classes).float()
        inputs, targets = steps.mixed(steps.weak(batch), one_hot, alpha)
        with steps.precision():
            logits, _ = learner.trainee(inputs)
        total += steps.update(learner, F.cross_entropy(logits, targets))
    return steps.mean_loss(total, count)
