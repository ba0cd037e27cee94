"""SSR and SSR+: sample selection and relabelling (Feng, Tzimiropoulos and Patras, BMVC 2022).

    every epoch
        1  relabel   a prediction surer than theta_r replaces the label: of the given ones, anew every time
        2  select    a label that wins the vote of the nearest neighbours, large classes scaled down, is clean
        3  train     MixUp of strong views of the clean samples; in SSR+ strong views of all have to tell the weak ones

All classes are trained equally often, and what a strong view tells are the features of the weak view of its sample.
There is no warm-up, no mixture and no pseudo-label: the noisy samples are seen by the third step's consistency alone.
Two networks learn apart and are tested together.

The preset `paper` is SSR+ (public code); `consistency = 0` makes it SSR. Apart from that: samples are judged as they
are, not in a weak view; RandAugment stands in for AutoAugment; momentum is Nesterov's, the learning rate ends at 0, not
at a fiftieth.
"""

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from nlcore.basics.ranges import SHARE, Range, within
from nlcore.data.datasets import rank_in_class
from nlcore.selection.division import Division, Snapshot, with_every_class
from nlcore.selection.voting import neighbour_votes

log = logging.getLogger(__name__)

TITLE = "SSR"
SETS = ("clean", "relabelled", "noisy")
LABELLED = ("clean", "relabelled")


@dataclass(frozen=True)
class SSRConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    theta_r : a sample gets the predicted label above this probability.
    theta_s : a label is clean from this share of the winner's votes; 1 = it has to win.
    neighbours : samples that vote on each, itself among them.
    neighbour_share : but no more than this share of the mean class: what 200 are of CIFAR-100's 500 (our
        reconstruction, for small data).
    voters : neighbours are looked for among so many samples, drawn anew every epoch; None = among all. The search is
        most of an epoch's cost where the network is small (our reconstruction).
    strong_views : views of each clean sample in a batch.
    mixup : MixUp draws lambda ~ Beta(mixup, mixup); 0 = no MixUp.
    consistency : weight of the feature consistency; 0 = SSR, without projector and predictor.
    keep_share : share of each given class that stays labelled whatever the vote says (our reconstruction; 0 = off).
    """

    theta_r: float = within(0.9, SHARE)
    theta_s: float = within(1.0, SHARE)
    neighbours: int = within(200, Range(1))
    neighbour_share: float = within(0.4, SHARE)
    voters: int | None = within(5_000, Range(1))
    strong_views: int = within(1, Range(1))
    mixup: float = within(4.0, Range(0))
    consistency: float = within(1.0, Range(0))
    keep_share: float = within(0.1, SHARE)


PRESETS = {"tuned": SSRConfig(), "paper": SSRConfig(voters=None, strong_views=2, keep_share=0.0)}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """No warm-up, and in the `paper` preset the settings of its runs; their length comes with the long budget."""
    source = "SSR (BMVC 2022), public code"
    if config.preset != "paper":
        return (({"warmup": 0.0}, source),)
    values = {"warmup": 0.0, "schedule": "cosine", "full_batches": True}
    if config.dataset in ("cifar10", "cifar100"):
        values |= {"learning_rate": 0.02, "weight_decay": 5e-4, "batch_size": 128}
        values |= {"epochs": 300} if config.budget == "long" else {}
    if config.dataset == "cifar100" and config.noise == "symmetric" and (config.rate or 0) >= 0.35:
        values["theta_r"] = 0.8
    if config.dataset == "clothing1m":
        values |= {"learning_rate": 0.002, "weight_decay": 1e-3, "batch_size": 32, "balanced_images": 32_000}
        values |= {"schedule": "step", "theta_r": 0.99, "mixup": 0.5}
        values |= {"epochs": 150} if config.budget == "long" else {}
    return ((values, source),)


class Consistency(nn.Module):
    """Projector f and predictor h: features (B, d) -> f and h(f) side by side, (B, 2 x 128)."""

    def __init__(self, in_features: int):
        super().__init__()
        self.projector = self._layers(in_features)
        self.predictor = self._layers(128)

    @staticmethod
    def _layers(dim: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(dim, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        projected = self.projector(features)
        return torch.cat([projected, self.predictor(projected)], 1)


def extra_heads(in_features: int, num_classes: int, config: SSRConfig) -> dict[str, nn.Module]:
    """Projector and predictor of SSR+."""
    return {"consistency": Consistency(in_features)} if config.consistency else {}


def divide(
    snapshot: Snapshot, given_labels: torch.Tensor, classify, config: SSRConfig, memory: dict, generator
) -> tuple[Division, dict]:
    """Steps 1 and 2. `clean_prob` is the share of the balanced votes that the given label gets."""
    num_classes = snapshot.logits.shape[1]
    labels = relabel(snapshot.probs, given_labels, config.theta_r)
    unit = F.normalize(snapshot.features, dim=1)
    voters = torch.randperm(len(labels), generator=generator, device=labels.device)[: config.voters]
    most = round(config.neighbour_share * len(voters) / num_classes)
    k = min(config.neighbours, max(3, most))  # fewer than two others are no vote
    votes = balanced(neighbour_votes(unit, labels, num_classes, k, voters), labels)
    clean = wins(votes, labels, config.theta_s)
    changed = labels != given_labels

    membership = torch.full_like(given_labels, SETS.index("noisy"))
    membership[clean & ~changed], membership[clean & changed] = SETS.index("clean"), SETS.index("relabelled")
    support = votes.gather(1, torch.stack([given_labels, labels], 1))
    division = Division(SETS, membership, clean, labels, support[:, 1], support[:, 0])
    return with_every_class(division, snapshot, given_labels, support[:, 0], "clean", config.keep_share), {}


def relabel(probs: torch.Tensor, given_labels: torch.Tensor, threshold: float) -> torch.Tensor:
    """The given labels (N,), replaced by the prediction where it is surer than the threshold; probs (N, K)."""
    confidence, predicted = probs.max(1)
    return torch.where(confidence > threshold, predicted, given_labels)


def balanced(votes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Votes (N, K) divided by the share of each class among the labels (N,), as rows that sum to 1."""
    share = torch.bincount(labels, minlength=votes.shape[1]) / len(labels)
    votes = votes / share.clamp(min=1 / len(labels))  # a class that nobody has gets no vote
    return votes / votes.sum(1, keepdim=True)


def wins(votes: torch.Tensor, labels: torch.Tensor, threshold: float) -> torch.Tensor:
    """Whether the votes (N, K) for a label (N,) reach this share of the winner's: (N,) bool; 1 = it is the winner."""
    return votes.gather(1, labels[:, None]).squeeze(1) >= threshold * votes.amax(1)


def own_epoch(steps, divisions: tuple[Division, ...], config: SSRConfig) -> float:
    """Step 3, each network on its own division."""
    learners = steps.state.learners
    losses = [_network_epoch(steps, *pair, config) for pair in zip(learners, divisions, strict=True)]
    return sum(losses) / len(losses)


def _network_epoch(steps, learner, division: Division, config: SSRConfig) -> float:
    state = steps.state
    everything = torch.arange(len(state.images), device=state.images.device)
    clean = division.labelled.nonzero().flatten()
    if len(clean) == 0:
        log.warning("epoch %d: no sample is clean; trained on all", state.epoch + 1)
        clean = everything
    clean = clean[oversampled(division.target[clean], state.num_classes, state.generator)]
    count = steps.count(len(everything))
    total = torch.zeros((), device=everything.device)
    learner.student.train()
    for own, others in zip(steps.batches(clean, count), steps.batches(everything, count), strict=True):
        if len(others) < 2 or len(own) * config.strong_views < 2:  # batch norm needs two images
            continue
        with steps.precision():
            loss = _clean_loss(steps, learner, own, division.target[own], config)
            if config.consistency:
                loss = loss + config.consistency * _consistency_loss(steps, learner, others)
        total += steps.update(learner, loss)
    return steps.mean_loss(total, count)


def oversampled(labels: torch.Tensor, num_classes: int, generator: torch.Generator) -> torch.Tensor:
    """Places of labels (M,), each class as often as the largest: its samples in whole rounds, the rest at random."""
    counts = torch.bincount(labels, minlength=num_classes)
    rounds, rest = counts.max() // counts.clamp(min=1), counts.max() % counts.clamp(min=1)
    drawn = torch.rand(len(labels), generator=generator, device=labels.device)
    once_more = rank_in_class(drawn, labels, num_classes) < rest[labels]
    return torch.arange(len(labels), device=labels.device).repeat_interleave(rounds[labels] + once_more)


def _clean_loss(steps, learner, rows: torch.Tensor, labels: torch.Tensor, config: SSRConfig) -> torch.Tensor:
    """Soft cross-entropy on mixed strong views of clean samples (B,)."""
    views = steps.strong(rows.repeat(config.strong_views))
    targets = F.one_hot(labels, steps.state.num_classes).float().repeat(config.strong_views, 1)
    views, targets = steps.mixed(views, targets, config.mixup)
    return F.cross_entropy(learner.trainee(views)[0], targets)


def _consistency_loss(steps, learner, rows: torch.Tensor) -> torch.Tensor:
    """Minus the cosine between what the strong views of samples (B,) predict and the projected weak views."""
    with torch.no_grad():
        weak, _ = learner.student(steps.weak(rows), with_heads=True)[2]["consistency"].chunk(2, 1)
    _, predicted = learner.trainee(steps.strong(rows), with_heads=True)[2]["consistency"].chunk(2, 1)
    return -F.cosine_similarity(predicted.float(), weak.float()).mean()
