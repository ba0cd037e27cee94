"""Co-teaching (Han et al., NeurIPS 2018): two networks, each of which trains on what the other one finds easy.

    every batch
        both networks rank its samples by their loss
        each hands the (1 - F) B samples of smallest loss to the other one, which takes its step on them
    every epoch
        F grows linearly from 0 to the forget rate, then stays

The forget rate is the share of wrong labels. The paper is told it, and so are we where the configuration names a rate,
which for asymmetric noise is that of the classes that flip. Where it names none (labels of a file, own data) our
reconstruction estimates it from the training losses.

Each network takes a mean over its chosen samples, once; the public code divides by their number twice. The paper's
optimiser, Adam at 1e-3 whose rate falls linearly to 0 and whose momentum drops from 0.9 to 0.1 from epoch 80 of 200 on,
and its network of nine convolutions are not in the engine: SGD and the schedule of the preset take their place.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nlcore.basics.errors import InputError
from nlcore.basics.ranges import Range, within
from nlcore.selection.streams import loss_stream

TITLE = "Co-teaching"
SOURCE = "Co-teaching (NeurIPS 2018), public code"


@dataclass(frozen=True)
class CoteachingConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    forget_rate : share of a batch that is left out in the end. None = the nominal rate of the noise, and where there is
        none, the estimate of `estimate_forget_rate`.
    rise_epochs : epochs in which the share grows to it, T_k.
    """

    forget_rate: float | None = within(None, Range(0, below=1))
    rise_epochs: int = within(5, Range(1))


PRESETS = {"tuned": CoteachingConfig(), "paper": CoteachingConfig(rise_epochs=10)}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """Two networks; in the `paper` preset no augmentation and no weight decay, and on CIFAR its batches and length.

    Raises
    ------
    InputError : the configuration asks for one network.
    """
    if config.networks == 1:
        raise InputError("coteaching trains two networks that choose for each other: set networks to 2, not 1")
    rows = [({"networks": 2}, SOURCE)]
    if config.preset == "paper":
        rows.append(({"weight_decay": 0.0, "pad": 0, "flip": False}, SOURCE))
        if config.dataset in ("cifar10", "cifar100"):
            rows.append(({"batch_size": 128} | ({"epochs": 200} if config.budget == "long" else {}), SOURCE))
    return tuple(rows)


def own_epoch(steps, divisions, settings: CoteachingConfig) -> float:
    """One epoch of both networks, batch by batch; returns the mean loss of the chosen samples.

    Several processes all train on whole batches: the ranking is one of all samples of a batch.
    """
    state, labels = steps.state, steps.state.given_labels
    memory = state.learners[0].memory
    since = state.epoch - state.config.warmup_epochs
    share = forget_share(forget_rate(settings, state.config, memory), since, settings.rise_epochs)
    rows = torch.arange(len(labels), device=labels.device)
    count, total = steps.count(len(rows)), torch.zeros((), device=labels.device)
    seen = torch.full_like(labels, torch.nan, dtype=torch.float32)  # the loss of every sample in this epoch
    for learner in state.learners:
        learner.student.train()
    for batch in steps.batches(rows, count):
        if len(batch) < 2:  # batch norm needs two samples
            continue
        views = steps.weak(batch)
        with steps.precision():
            logits = [learner.trainee(views)[0] for learner in state.learners]
        losses = [F.cross_entropy(each, labels[batch], reduction="none") for each in logits]
        chosen = [small_losses(each.detach(), share) for each in losses]
        for own, others, learner in zip(losses, reversed(chosen), state.learners, strict=True):
            total += steps.update(learner, own[others].mean())
        seen[batch] = torch.stack(losses).detach().mean(0)
    if since < settings.rise_epochs:
        memory["estimate"] = estimate_forget_rate(seen, labels, state.num_classes)
    return steps.mean_loss(total, count * len(state.learners))


def small_losses(losses: torch.Tensor, share: float) -> torch.Tensor:
    """Rows of the smallest of losses (B,), without a share of them: the whole part of (1 - share) B, at least one."""
    keep = int((1 - share) * len(losses) + 1e-9)  # (1 - 0.9) 10 is a little less than 1 in binary
    return losses.argsort(stable=True)[: max(1, keep)]


def forget_share(rate: float, epoch: int, rise_epochs: int) -> float:
    """F in an epoch, from 0: linear over the first `rise_epochs`, of which the last one has the whole rate."""
    return rate * min(1.0, epoch / max(1, rise_epochs - 1))


def forget_rate(settings: CoteachingConfig, config, memory: dict) -> float:
    """The rate that F grows to: as it was set, the nominal one, or the last estimate, 0 before there is any."""
    known = config.rate if settings.forget_rate is None else settings.forget_rate
    return memory.get("estimate", 0.0) if known is None else known


def estimate_forget_rate(losses: torch.Tensor, given_labels: torch.Tensor, num_classes: int) -> float:
    """Mean probability of the high-loss component of a mixture of two (our reconstruction).

    `losses` (N,) are those of an epoch while it trained, NaN for samples that it did not meet. The estimate is made
    anew in every epoch of the rise and then kept: once wrong labels are learnt, losses no longer tell.
    """
    known = losses.isfinite()
    return 1 - float(loss_stream(losses[known], given_labels[known], num_classes, per_class_from=None).mean())
