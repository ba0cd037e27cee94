"""One epoch of training: plain on the given labels, MixMatch on a division, or what the method brings instead."""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F

from nlcore.methods import METHODS
from nlcore.selection.division import Division
from nlcore.training import distributed
from nlcore.training.mixmatch import mixed_batch, mixmatch_step, rampup
from nlcore.training.observe import observe
from nlcore.training.state import Learner, State
from nlcore.training.steps import Batch, Steps

log = logging.getLogger(__name__)


def method_epoch(state: State, divisions: tuple[Division, ...] | None) -> float:
    """An epoch after warm-up, as the method wants it; returns the mean loss.

    A method with an `own_epoch` gets everything; one with a `batch_loss` has it minimised, on the labelled samples if
    it divides; one that only divides gets MixMatch, with its own `mixed_step` where it has one. Each of two networks
    trains on the division of the other, a single one on its own. See `nlcore.methods`.
    """
    method, settings = METHODS[state.config.method], state.config.settings
    if hasattr(method, "own_epoch"):
        return method.own_epoch(Steps(state), divisions, settings)
    losses = []
    for number, learner in enumerate(state.learners):
        division = divisions[number - 1] if divisions else None
        if not hasattr(method, "batch_loss"):
            losses.append(ssl_epoch(state, division, number))
        else:
            losses.append(own_loss_epoch(state, learner, division))
    return sum(losses) / len(losses)


def own_loss_epoch(state: State, learner: Learner, division: Division | None) -> float:
    """The method's `batch_loss` on all given labels, or on the targets of a division's labelled samples."""
    method, settings = METHODS[state.config.method], state.config.settings
    labels, rows = state.given_labels, torch.arange(len(state.images), device=state.given_labels.device)
    if division is not None:
        labels, rows = division.target, division.labelled.nonzero().flatten()
    if len(rows) == 0:
        return _nothing_labelled(state, learner)
    if hasattr(method, "prepare"):
        method.prepare(lambda: observe(state, learner=learner), state, settings, learner.memory)
    return supervised_epoch(
        state, learner, rows, labels, lambda batch: method.batch_loss(batch, settings, learner.memory)
    )


def _nothing_labelled(state: State, learner: Learner) -> float:
    log.warning("epoch %d: no sample is labelled; trained as in warm-up", state.epoch + 1)
    return warmup_epoch(state, learner)


def warmup_epoch(state: State, learner: Learner | None = None) -> float:
    """Cross-entropy on the given labels, or on soft ones where there are any, weak views; returns the mean loss.

    The confidence penalty is the negative entropy: under asymmetric noise a network is sure of wrong labels too soon. A
    method's `warmup_loss` is added.
    """
    penalty, settings = state.config.confidence_penalty, state.config.settings
    own = getattr(METHODS[state.config.method], "warmup_loss", None)

    def cross_entropy(batch: Batch) -> torch.Tensor:
        loss = F.cross_entropy(batch.logits, batch.labels)
        if penalty:
            log_probs = batch.logits.log_softmax(1)
            loss = loss + penalty * (log_probs.exp() * log_probs).sum(1).mean()
        return loss + own(batch, settings) if own else loss

    rows = torch.arange(len(state.images), device=state.images.device)
    labels = state.given_labels if state.soft_labels is None else state.soft_labels
    return supervised_epoch(state, learner or state.learners[0], rows, labels, cross_entropy)


def supervised_epoch(
    state: State,
    learner: Learner,
    rows: torch.Tensor,
    labels: torch.Tensor,
    loss_of: Callable[[Batch], torch.Tensor],
) -> float:
    """Weak views of the samples `rows` (M,) with their part of all `labels`, (N,) or (N, K); returns the mean loss."""
    steps = Steps(state)
    number = steps.count(len(rows))
    total = torch.zeros((), device=rows.device)
    learner.student.train()
    for batch in steps.batches(rows, number):
        batch = distributed.own(batch)
        if len(batch) < 2:  # batch norm needs two images
            continue
        with steps.precision():
            logits, features, heads = learner.trainee(steps.weak(batch), with_heads=True)
        seen = Batch(state.index[batch], state.full_size, state.epoch, labels[batch], logits, features, heads)
        total += steps.update(learner, loss_of(seen))
    return steps.mean_loss(total, number)


def ssl_epoch(state: State, division: Division, number: int = 0) -> float:
    """MixMatch of one network, by its number, on a division; returns the mean loss.

    Without any labelled sample the epoch is one of warm-up; without unlabelled ones, of MixUp on the labelled alone.
    Both are logged.
    """
    config, learner, steps = state.config, state.learners[number], Steps(state)
    teachers = [learner.teacher] + [other.teacher for other in state.learners if other is not learner]
    labelled, unlabelled = division.labelled.nonzero().flatten(), (~division.labelled).nonzero().flatten()
    if len(labelled) == 0:
        return _nothing_labelled(state, learner)
    if len(unlabelled) == 0:
        log.info("epoch %d: every sample is labelled; nothing is guessed", state.epoch + 1)
    lam_u = rampup(state.epoch - config.warmup_epochs, config.ssl)
    count, size, views = steps.count(len(labelled)), steps.batch_size, config.ssl.views
    labelled_batches = steps.batches(labelled, count)
    if config.full_batches and len(unlabelled) < len(labelled):
        # No unlabelled sample is seen more often than a labelled one: filling half of every batch with the same six
        # images spoils batch norm, and their loss would count as much as that of all the others.
        share = len(unlabelled) / len(labelled)
        size, lam_u = max(1, round(size * share)), lam_u * share
    # Without unlabelled samples the step is MixUp on the labelled ones alone.
    unlabelled_batches = steps.batches(unlabelled, count if len(unlabelled) else 0, size)
    own_step = getattr(METHODS[config.method], "mixed_step", None)
    learner.student.train()
    total = torch.zeros((), device=labelled.device)
    for own in labelled_batches:
        own, others = distributed.own(own), distributed.own(next(unlabelled_batches, unlabelled))
        if len(own) == 0 or len(own) + len(others) < 2:
            continue
        rows = torch.cat([own, others])
        often = rows.repeat(views)  # all views in one call: half of the cost of a small batch is to call at all
        weak = steps.weak(often).chunk(views)
        learn = steps.strong(often).chunk(views) if config.ssl.strong else weak
        lam = float(state.rng.beta(config.ssl.alpha, config.ssl.alpha))
        trust = division.target[own], division.weight[own]
        parts = teachers, weak, learn, *trust, lam_u, lam, config.ssl, state.generator
        if own_step:
            with steps.precision():
                mixed = mixed_batch(*parts)
            total += own_step(steps, learner, mixed, config.settings)
            continue
        with steps.precision():
            loss = mixmatch_step(learner.trainee, *parts)
        total += steps.update(learner, loss)
    return steps.mean_loss(total, count)
