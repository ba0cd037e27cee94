"""Semi-supervised training on a division: MixMatch as the noisy-label family uses it (DivideMix).

Labels that are trusted are refined by the network's own opinion, samples that are not get a guessed label, both are
sharpened and everything is mixed with everything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nlcore.basics.ranges import Range, within


@dataclass(frozen=True)
class SSLConfig:
    """Semi-supervised training. The defaults are the `tuned` preset; `PAPER_SSL` is the family's convention.

    Attributes
    ----------
    alpha : MixUp draws lambda ~ Beta(alpha, alpha).
    temperature : of sharpening; 1 leaves a distribution as it is.
    lam_u : weight of the loss on guessed labels.
    lam_r : weight of the penalty on predictions far from uniform class shares.
    rampup_epochs : epochs after warm-up over which lam_u grows linearly from 0.
    unlabelled_loss : `squared` error of probabilities (MixMatch) or `cross_entropy` (our reconstruction).
    views : random views of each sample; 2 in the family, 1 with twice the steps costs the same.
    strong : train on strong views, with targets from weak ones (UNICON); else on the weak ones.
    """

    alpha: float = within(1.0, Range(above=0))
    temperature: float = within(0.5, Range(above=0))
    lam_u: float = within(1.0, Range(0))
    lam_r: float = within(1.0, Range(0))
    rampup_epochs: int = within(4, Range(0))
    unlabelled_loss: str = "cross_entropy"
    views: int = within(1, Range(1))
    strong: bool = False


PAPER_SSL = SSLConfig(alpha=4.0, lam_u=25.0, rampup_epochs=16, unlabelled_loss="squared", views=2, strong=False)


def sharpen(probs: torch.Tensor, temperature: float) -> torch.Tensor:
    """Raise probabilities (B, K) to the power 1 / temperature and renormalise the rows."""
    powered = probs.clamp(min=1e-12) ** (1 / temperature)
    return powered / powered.sum(1, keepdim=True)


def refine_targets(labels: torch.Tensor, weight: torch.Tensor, probs: torch.Tensor, temperature: float) -> torch.Tensor:
    """Targets of trusted samples: sharpen(w onehot(label) + (1 - w) probs), (B, K).

    labels (B,) int64; weight (B,) in [0, 1]; probs (B, K), the mean prediction over the views.
    """
    one_hot = F.one_hot(labels, probs.shape[1]).to(probs.dtype)
    mixed = weight[:, None] * one_hot + (1 - weight[:, None]) * probs
    return sharpen(mixed, temperature)


def mix(
    inputs: torch.Tensor, targets: torch.Tensor, lam: float, order: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """MixUp of inputs (B, ...) and targets (B, K) with a permutation of themselves; lam' = max(lam, 1 - lam)."""
    lam = max(lam, 1 - lam)
    return lam * inputs + (1 - lam) * inputs[order], lam * targets + (1 - lam) * targets[order]


def ssl_loss(
    logits: torch.Tensor, targets: torch.Tensor, num_labelled: int, lam_u: float, lam_r: float, unlabelled_loss: str
) -> torch.Tensor:
    """L_C + lam_u L_U + lam_r L_reg on mixed logits (B, K), of which the first `num_labelled` rows are labelled: a
    scalar.

    L_C: soft cross-entropy. L_U: squared error of probabilities, or soft cross-entropy. L_reg = sum of pi log(pi /
    mean p) with pi = 1/K, which keeps a class from being forgotten.
    """
    log_probs = logits.log_softmax(1)
    cross_entropy = -(targets * log_probs).sum(1)
    loss = cross_entropy[:num_labelled].mean()
    if len(logits) > num_labelled:
        if unlabelled_loss == "squared":
            loss = loss + lam_u * (log_probs[num_labelled:].exp() - targets[num_labelled:]).square().mean()
        else:
            loss = loss + lam_u * cross_entropy[num_labelled:].mean()
    uniform = 1 / logits.shape[1]
    mean_probs = log_probs.exp().mean(0).clamp(min=1e-12)
    return loss + lam_r * (uniform * (uniform / mean_probs).log()).sum()


def rampup(epochs_after_warmup: int, config: SSLConfig) -> float:
    """The weight of the unlabelled loss in this epoch."""
    return config.lam_u * min(1.0, epochs_after_warmup / config.rampup_epochs) if config.rampup_epochs else config.lam_u


def batches(
    index: torch.Tensor, size: int, steps: int, full: bool, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """`steps` random batches of `index` (M,), from one permutation after another.

    With `full` every batch has `size` entries and may run on into the next permutation. Without, each permutation ends
    in whatever is left, as data loaders do: a last batch of one or two samples gives batch norm so little to work on
    that its gradient can make whole classes vanish.
    """
    queue = index[:0]
    for _ in range(steps):
        while len(queue) == 0 or (full and len(queue) < size):
            queue = torch.cat([queue, index[torch.randperm(len(index), generator=generator, device=index.device)]])
        yield queue[:size]
        queue = queue[size:]


@dataclass(frozen=True)
class Mixed:
    """A batch of MixMatch as it is learnt from.

    Attributes
    ----------
    inputs : (M, ...) float32, as a network takes them.
    targets : (M, K).
    num_labelled : so many of the rows are labelled, the first ones.
    lam_u, lam_r, unlabelled_loss : as in `ssl_loss`.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    num_labelled: int
    lam_u: float
    lam_r: float
    unlabelled_loss: str

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """`ssl_loss` of what a network makes of the inputs, (M, K): a scalar."""
        return ssl_loss(logits, self.targets, self.num_labelled, self.lam_u, self.lam_r, self.unlabelled_loss)


def mixmatch_step(student, teachers: list, *parts) -> torch.Tensor:
    """The loss of one MixMatch step, a scalar; `parts` are the other arguments of `mixed_batch`."""
    mixed = mixed_batch(teachers, *parts)
    _set_training(student)
    logits, _ = student(mixed.inputs)
    return mixed.loss(logits)


def mixed_batch(
    teachers: list,
    weak_views: Sequence[torch.Tensor],
    train_views: Sequence[torch.Tensor],
    labels: torch.Tensor,
    weight: torch.Tensor,
    lam_u: float,
    lam: float,
    config: SSLConfig,
    generator: torch.Generator,
) -> Mixed:
    """Guess, refine and mix.

    `weak_views`, from which targets are made, and `train_views`, to learn from, hold the same B + U images: normalised
    (B + U, C, H, W), the B labelled ones first, whose `labels` (B,) are trusted by `weight` (B,). `lam` is the draw of
    MixUp; the teachers guess, the student learns. The first of the `teachers` is its own: it alone refines the labels,
    while guesses are the mean of all (DivideMix).
    """
    num_labelled, repeat = len(labels), len(train_views)
    with torch.no_grad():
        own, *others = teachers
        _set_training(own)  # batch norm then uses the statistics of these unmixed images
        probs = torch.stack([own(view)[0].softmax(1) for view in weak_views]).mean(0)
        refined = refine_targets(labels, weight, probs[:num_labelled], config.temperature)
        guesses = [probs[num_labelled:]]
        for other in others:
            _set_training(other, False)
            guesses += [torch.stack([other(v[num_labelled:])[0].softmax(1) for v in weak_views]).mean(0)]
        guessed = sharpen(torch.stack(guesses).mean(0), config.temperature)
        # All labelled rows first, whatever the number of views.
        inputs = torch.cat([v[:num_labelled] for v in train_views] + [v[num_labelled:] for v in train_views])
        targets = torch.cat([refined] * repeat + [guessed] * repeat)
        order = torch.randperm(len(inputs), generator=generator, device=inputs.device)
        inputs, targets = mix(inputs, targets, lam, order)
    return Mixed(inputs, targets, num_labelled * repeat, lam_u, config.lam_r, config.unlabelled_loss)


def _set_training(network, mode: bool = True) -> None:
    if network.training != mode:  # asking every module again, in every step, takes time
        network.train(mode)
