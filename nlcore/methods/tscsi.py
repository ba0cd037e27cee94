"""TSCSI: Two-Stage Clean Samples Identification (Zhao et al., ECCV 2022).

    warm-up
        cross-entropy, of two auxiliary heads as well
    every epoch after it
        1  centrality: samples near the centre of the class that they are given
        2  consistency: the auxiliary heads are trained apart on those; a sample on which they still agree is clean
        3  MixMatch with the clean samples labelled; the auxiliary heads learn the same batches
        4  one more step on each batch moves the features, and no head, so that the auxiliary heads agree

In the third step the auxiliary heads have no say in the features.

Read in the authors' code (github.com/uitrbn/TSCSI_IDN), whose settings are the `paper` preset. With its `tau_d` of 0,
for CIFAR-10 and for CIFAR-100 up to 40 % noise, the second stage keeps all that the first has found: it selects
nothing. The step that the abstract has for rare classes, by the entropy of predictions, is absent from that code and
from ours. Nor is the selection of its Clothing1M runs rebuilt, Otsu's threshold for each class in place of a mixture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from nlcore.basics.ranges import SHARE, Range, within
from nlcore.selection.division import Division, Snapshot, with_every_class
from nlcore.selection.mixture import low_component
from nlcore.selection.streams import class_means, feature_stream, min_max

TITLE = "TSCSI"
SETS = ("consistent", "inconsistent", "peripheral")
LABELLED = ("consistent",)

AUXILIARY = ("first", "second")  # the two heads; `side` is the projection that both of them read
LOOK_BATCH = 1000


@dataclass(frozen=True)
class TSCSIConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    tau_p : central from above this probability of the component near the centres.
    tau_d : consistent from this probability of the component on which the auxiliary heads agree; 0 = all that is
        central. With 0.3 and an `apart` of 3 fewer wrong labels were left than with the released 0 and 0.1, and under
        instance-dependent noise accuracy rose (600 digits, first experiments).
    side_dim : outputs of the projection from which centres and auxiliary heads are made.
    apart : weight of the disagreement that the auxiliary heads are trained to, see `apart_loss`.
    apart_steps : batches of that training, before every division.
    together : weight of the disagreement in the last step, on the features; 0 = no such step.
    keep_share : share of each given class that stays labelled whatever the stages say (our reconstruction; 0 = off).
    """

    tau_p: float = within(0.5, SHARE)
    tau_d: float = within(0.3, SHARE)
    side_dim: int = within(128, Range(1))
    apart: float = within(3.0, Range(0))
    apart_steps: int = within(100, Range(0))
    together: float = within(0.1, Range(0))
    keep_share: float = within(0.1, SHARE)


PRESETS = {"tuned": TSCSIConfig(), "paper": TSCSIConfig(tau_p=0.4, tau_d=0.0, apart=0.1, keep_share=0.0)}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """The released settings, in the `paper` preset: by dataset and rate, and by budget the network and the warm-up."""
    if config.preset != "paper":
        return ()
    rows, source = [], "TSCSI (ECCV 2022), public code"
    if config.dataset == "clothing1m":
        rows.append({"tau_p": 0.5, "tau_d": 0.5, "apart": 2.3, "apart_steps": 1500})
    else:
        rows.append({"lam_u": 25.0})
        if config.dataset == "cifar100" and config.rate is not None and config.rate >= 0.3:
            rows.append({"tau_p": 0.5, "tau_d": 0.0} if config.rate < 0.5 else {"tau_p": 0.3, "tau_d": 0.3})
        if config.budget is not None:
            rows.append({"network": "resnet34"})
        if config.budget == "long":
            rows.append({"warmup_epochs": 30})
    return tuple((row, source) for row in [{"networks": 2}, *rows])


# -- the two heads


class Gate(nn.Module):
    """Hands features on. While it is shut no gradient comes back: what lies behind it has no say in the features."""

    def __init__(self):
        super().__init__()
        self.shut = True

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.detach() if self.shut else features


def extra_heads(in_features: int, num_classes: int, config: TSCSIConfig) -> dict[str, nn.Module]:
    """A projection of the features, `side`, and on it the two auxiliary heads."""
    side = nn.Sequential(Gate(), nn.Linear(in_features, config.side_dim))

    def classifier() -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(config.side_dim), nn.ReLU(), nn.Linear(config.side_dim, num_classes))

    return {"side": side} | {name: nn.Sequential(side, classifier()) for name in AUXILIARY}


@contextmanager
def only_features_learn(network) -> Iterator[None]:
    """Inside the block gradients pass through the auxiliary heads, and move the features alone."""
    gate = network.heads["side"][0]
    gate.shut = False
    network.heads.requires_grad_(False)
    try:
        yield
    finally:
        gate.shut = True
        network.heads.requires_grad_(True)


def disagreement(heads: dict[str, torch.Tensor]) -> torch.Tensor:
    """L1 distance of the auxiliary heads' probabilities, (B,), from their logits (B, K): between 0 and 2."""
    first, second = (heads[name].softmax(1) for name in AUXILIARY)
    return (first - second).abs().sum(1)


def warmup_loss(batch, config: TSCSIConfig) -> torch.Tensor:
    """Cross-entropy of both auxiliary heads."""
    return sum(F.cross_entropy(batch.heads[name], batch.labels) for name in AUXILIARY)


# -- 1 and 2: the division


def look(steps, learner, snapshot: Snapshot, config: TSCSIConfig) -> Snapshot:
    """Train the auxiliary heads apart on the central samples, and add how much they then disagree: `gap` (N, 1).

    Zero outside of the central samples, of which nobody asks. The released code looks at random views once more; here
    the images are seen as they are.
    """
    _, central = centrality(snapshot, steps.state.given_labels, config)
    rows = central.nonzero().flatten()
    gap = torch.zeros_like(snapshot.losses)
    if len(rows):
        train_apart(steps, learner, rows, config)
        learner.student.eval()
        with torch.no_grad(), steps.precision():
            for part in rows.split(LOOK_BATCH):
                _, _, heads = learner.student(steps.plain(part), with_heads=True)
                gap[part] = disagreement(heads)
    return replace(snapshot, heads=snapshot.heads | {"gap": gap[:, None]})


def train_apart(steps, learner, rows: torch.Tensor, config: TSCSIConfig) -> None:
    """Let the auxiliary heads disagree as much as they can on the central samples `rows` (M,); nothing else moves.

    They are two opinions that fit the same labels, and where there is room for two a label is not well supported. The
    optimiser is that of the network, with a momentum that begins anew (the released code keeps it from one epoch to the
    next).
    """
    student, labels = learner.student, steps.state.given_labels
    shares = torch.bincount(labels[rows], minlength=steps.state.num_classes) / len(rows)
    heads = {name: student.heads[name] for name in AUXILIARY}
    theirs = [parameter for _, classifier in heads.values() for parameter in classifier.parameters()]
    group = learner.optimiser.param_groups[0]
    optimiser = torch.optim.SGD(theirs, **{k: group[k] for k in ("lr", "momentum", "weight_decay", "nesterov")})
    student.train()
    for batch in steps.batches(rows, config.apart_steps):
        if len(batch) < 2:  # batch norm needs two images
            continue
        with steps.precision(), torch.no_grad():
            _, features = student(steps.weak(batch))
        outputs = {name: head(features) for name, head in heads.items()}
        loss = config.apart * apart_loss(outputs, shares[labels[batch]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def apart_loss(heads: dict[str, torch.Tensor], shares: torch.Tensor) -> torch.Tensor:
    """Minus the mean of the disagreement, weighted by the `shares` (B,) of the samples' given classes: a scalar.

    The weights add up to 1 in a batch and are averaged all the same, as in the released code: the loss is smaller by
    the size of the batch than a weighted mean.
    """
    return -(disagreement(heads) * shares / shares.sum()).mean()


def centrality(
    snapshot: Snapshot, given_labels: torch.Tensor, config: TSCSIConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stage 1: the probability that a sample lies near the centre of its given class, (N,) float32, and who does.

    The centre of a class is the mean direction of the samples that the auxiliary heads predict to be of it, so that a
    wrong label moves none. One mixture for all samples.
    """
    num_classes = snapshot.logits.shape[1]
    directions = F.normalize(snapshot.heads["side"], dim=1)
    predicted = sum(snapshot.heads[name] for name in AUXILIARY).argmax(1)
    centres = F.normalize(class_means(directions, predicted, num_classes), dim=1)
    cosines = (directions * centres[given_labels]).sum(1)
    # The mixture finds the low component, so it is given the distance from the top; its limits are the released ones.
    central_prob = low_component(1 - min_max(cosines.double()), max_iter=100, tolerance=0.1).float()
    return central_prob, central_prob > config.tau_p


def consistency(
    gap: torch.Tensor, central: torch.Tensor, given_labels: torch.Tensor, num_classes: int, config: TSCSIConfig
) -> torch.Tensor:
    """Stage 2: the central samples on which the auxiliary heads agree, (N,) bool; a mixture for each given class.

    It takes central samples away and never adds one.
    """
    agree_prob = torch.full_like(gap, -1.0)
    if bool(central.any()):
        agree_prob[central] = feature_stream(-gap[central], given_labels[central], num_classes)
    return agree_prob >= config.tau_d


def divide(
    snapshot: Snapshot, given_labels: torch.Tensor, classify, config: TSCSIConfig, memory: dict, generator
) -> tuple[Division, dict]:
    """Both stages. Where nobody has trained the auxiliary heads apart, see `look`, they disagree as they do.

    Labels are trusted by the first stage, also for refining (the released code).
    """
    num_classes = snapshot.logits.shape[1]
    central_prob, central = centrality(snapshot, given_labels, config)
    gap = snapshot.heads["gap"].squeeze(1) if "gap" in snapshot.heads else disagreement(snapshot.heads)
    consistent = consistency(gap, central, given_labels, num_classes, config)

    membership = torch.full_like(given_labels, SETS.index("peripheral"))
    membership[central], membership[consistent] = SETS.index("inconsistent"), SETS.index("consistent")
    division = Division(SETS, membership, consistent, given_labels, central_prob, central_prob)
    division = with_every_class(division, snapshot, given_labels, central_prob, "consistent", config.keep_share)
    return division, {"gap": gap}


# -- 3: what a batch of MixMatch teaches


def mixed_step(steps, learner, mixed, config: TSCSIConfig) -> torch.Tensor:
    """One step of all heads on a mixed batch, then one of the features towards heads that agree.

    In the first the gate is shut: the features learn from the main head. Both auxiliary heads have the loss of the
    main one, and half of its penalty on the class shares each (the released code).
    """
    half = replace(mixed, lam_r=mixed.lam_r / 2)
    with steps.precision():
        logits, _, heads = learner.trainee(mixed.inputs, with_heads=True)
        loss = mixed.loss(logits)
        auxiliary = sum(half.loss(heads[name]) for name in AUXILIARY)
    steps.update(learner, loss + auxiliary)
    if config.together:
        with only_features_learn(learner.student), steps.precision():
            _, _, heads = learner.trainee(mixed.inputs, with_heads=True)
            gap = config.together * disagreement(heads).mean()
            if gap.requires_grad:  # else the features are the inputs themselves
                steps.update(learner, gap)
    return loss.detach()
