"""ELR and ELR+: early-learning regularisation (Liu et al., NeurIPS 2020).

    every batch
        t <- beta t + (1 - beta) p        what is remembered of each sample, before the loss: the target holds p already
        L  = CE(p, given label) + lambda mean log(1 - <t, p>)

A network learns right labels before it memorises wrong ones. The regulariser holds it to what it said early: the
gradient of a label that t contradicts is turned down. In ELR+ MixUp mixes inputs, labels and targets, and t remembers
what the average weights of the *other* network say of the unmixed images.

One network with the preset `paper` is the paper's ELR, two are its ELR+ (public code). Apart from that: the engine's
schedules stand in for theirs (cosine for restarts every ten epochs; a division by ten at half time for one by a hundred
at one and two thirds, or by ten at three quarters), momentum is Nesterov's, the memory of the average weights grows as
the engine's does, and these are tested, not the trained ones. Their models were chosen on a tenth of the noisy data:
`TrainConfig(holdout=0.1)`.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from nlcore.basics.errors import choose
from nlcore.basics.ranges import Range, within
from nlcore.selection.division import ALL, Division, Snapshot, everything_labelled

TITLE = "ELR"
SETS = LABELLED = (ALL,)
FLOOR = 1e-4  # no probability is nearer to 0 or 1, so that log(1 - <t, p>) stays finite


@dataclass(frozen=True)
class ELRConfig:
    """The defaults are the `tuned` preset: the paper's numbers, with targets from the average weights.

    Attributes
    ----------
    beta : share of the old target that stays; 0 = no memory.
    lam : weight of the regulariser.
    targets_from : `student`, targets remember the network's own predictions (ELR), or `teacher`, those of the other
        network's average weights (ELR+); a single network has its own.
    mixup : MixUp draws lambda ~ Beta(mixup, mixup); 0 = no MixUp.
    refine_labels : learn label * target, renormalised, in place of the label (ELR+ on CIFAR-100).
    rampup_steps : steps over which lam grows from nearly 0, as exp(-5 (1 - share)^2); 0 = at once.
    """

    beta: float = within(0.7, Range(0, below=1))
    lam: float = within(3.0, Range(0))
    targets_from: str = "teacher"
    mixup: float = within(0.0, Range(0))
    refine_labels: bool = False
    rampup_steps: int = within(0, Range(0))

    def __post_init__(self):
        choose("targets_from", self.targets_from, ("student", "teacher"))


PRESETS = {"tuned": ELRConfig(), "paper": ELRConfig(beta=0.7, lam=3.0, targets_from="student")}

# (data set, networks) -> settings of the runs of ELR, one network, and of ELR+, two.
CIFAR = {"learning_rate": 0.02, "batch_size": 128}
PUBLISHED = {
    ("cifar10", 1): CIFAR | {"weight_decay": 1e-3, "schedule": "cosine"},
    ("cifar10", 2): CIFAR | {"weight_decay": 5e-4, "schedule": "step"},
    ("cifar100", 1): CIFAR | {"weight_decay": 1e-3, "schedule": "step", "beta": 0.9, "lam": 7.0},
    ("cifar100", 2): CIFAR
    | {"weight_decay": 5e-4, "schedule": "step", "beta": 0.9, "lam": 7.0}
    | {"refine_labels": True, "rampup_steps": 40_000},
    ("clothing1m", 1): {"learning_rate": 0.001, "weight_decay": 1e-3, "batch_size": 64, "balanced_images": 128_000},
    ("clothing1m", 2): {"learning_rate": 0.002, "weight_decay": 1e-3, "batch_size": 64, "balanced_images": 192_000},
}
ASYMMETRIC = {"beta": 0.9, "lam": 1.0, "schedule": "step"}  # on CIFAR-10
PLUS = {"targets_from": "teacher", "mixup": 1.0, "ema_decay": 0.997}
EPOCHS = {("cifar10", 1): 150, ("cifar10", 2): 200, ("cifar100", 1): 150, ("cifar100", 2): 250}
EPOCHS |= {("clothing1m", 1): 10, ("clothing1m", 2): 15}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """No warm-up, and in the `paper` preset the settings of its tables: of ELR+ for two networks, else of ELR.

    A budget brings their network too, the long one their number of epochs.
    """
    source = "ELR (NeurIPS 2020), public code"
    if config.preset != "paper":
        return (({"warmup": 0.0}, source),)
    run = (config.dataset, config.networks or 1)
    values = {"warmup": 0.0} | PUBLISHED.get(run, {}) | (PLUS if run[1] == 2 else {})
    asymmetric = config.dataset == "cifar10" and config.noise == "asymmetric"
    if asymmetric:
        values |= ASYMMETRIC
    if config.budget and run in (("cifar10", 1), ("cifar100", 1)):
        values["network"] = "resnet34"
    if config.budget == "long" and run in EPOCHS:
        values["epochs"] = 120 if asymmetric and run[1] == 1 else EPOCHS[run]
    return ((values, source),)


def divide(
    snapshot: Snapshot, given_labels: torch.Tensor, classify, config: ELRConfig, memory: dict, generator
) -> tuple[Division, dict]:
    """Every label is used; `clean_prob` is what the targets say of it, of a sample never seen what the network says."""
    probs = snapshot.probs
    if "targets" in memory:
        remembered = memory["targets"][snapshot.index]
        total = remembered.sum(1, keepdim=True)
        probs = torch.where(total > 0, remembered / total.clamp(min=FLOOR), probs)
    clean_prob = probs.gather(1, given_labels[:, None]).squeeze(1)
    return replace(everything_labelled(snapshot, given_labels), clean_prob=clean_prob), {}


def own_epoch(steps, divisions: tuple[Division, ...], config: ELRConfig) -> float:
    """One network after the other; each has targets of its own."""
    losses = [_network_epoch(steps, number, config) for number in range(len(steps.state.learners))]
    return sum(losses) / len(losses)


def _network_epoch(steps, number: int, config: ELRConfig) -> float:
    state = steps.state
    learner, num_classes, device = state.learners[number], state.num_classes, state.given_labels.device
    guide = learner.student if config.targets_from == "student" else state.learners[number - 1].teacher
    if "targets" not in learner.memory:
        learner.memory["targets"] = torch.zeros(state.full_size, num_classes, device=device)
    targets = learner.memory["targets"]
    rows = torch.arange(len(state.images), device=device)
    count = steps.count(len(rows))
    total = torch.zeros((), device=device)
    learner.student.train()
    guide.train()  # batch norm uses the statistics of these unmixed images, as in the public code
    for batch in steps.batches(rows, count):
        if len(batch) < 2:  # batch norm needs two images
            continue
        index, views = state.index[batch], steps.weak(batch)
        labels = F.one_hot(state.given_labels[batch], num_classes).float()
        with steps.precision():
            if guide is learner.student and not config.mixup:  # what is learnt from is what is remembered
                logits = learner.trainee(views)[0]
                targets[index] = remember(targets[index], logits, config.beta)
                target = targets[index]
            else:
                with torch.no_grad():
                    targets[index] = remember(targets[index], guide(views)[0], config.beta)
                both = torch.cat([labels, targets[index]], 1)
                views, both = steps.mixed(views, both, config.mixup)
                labels, target = both.chunk(2, 1)
                logits = learner.trainee(views)[0]
        lam = config.lam * rampup(learner.step, config.rampup_steps)
        total += steps.update(learner, elr_loss(logits, labels, target, lam, config.refine_labels))
    return steps.mean_loss(total, count)


def remember(targets: torch.Tensor, logits: torch.Tensor, beta: float) -> torch.Tensor:
    """The targets (B, K) with the newest predictions in them: beta t + (1 - beta) p, from logits (B, K)."""
    probs = bounded_probs(logits.detach())
    return beta * targets + (1 - beta) * probs / probs.sum(1, keepdim=True)


def elr_loss(
    logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, lam: float, refine_labels: bool = False
) -> torch.Tensor:
    """Soft cross-entropy + lam mean log(1 - <t, p>), a scalar; logits, labels and targets t are (B, K).

    The logarithm is negative and falls as p comes nearer to t. With `refine_labels` the label is label * t first,
    renormalised.
    """
    if refine_labels:
        labels = labels * targets
        labels = labels / labels.sum(1, keepdim=True).clamp(min=1e-12)
    cross_entropy = -(labels * logits.log_softmax(1)).sum(1).mean()
    agreement = (targets * bounded_probs(logits)).sum(1)
    return cross_entropy + lam * (1 - agreement).log().mean()


def bounded_probs(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities (B, K), none nearer than 1e-4 to 0 or 1."""
    return logits.softmax(1).clamp(FLOOR, 1 - FLOOR)


def rampup(step: int, length: int) -> float:
    """exp(-5 (1 - step / length)^2) until `length` steps are over, then 1."""
    return math.exp(-5 * (1 - min(step, length) / length) ** 2) if length else 1.0
