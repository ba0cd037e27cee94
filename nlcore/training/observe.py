"""Looking without learning: snapshots, test accuracy, and batch-norm statistics that describe what is looked at."""

import torch
import torch.nn.functional as F

from nlcore.selection.division import Snapshot
from nlcore.training import distributed
from nlcore.training.networks import recalibrate_batch_norm
from nlcore.training.state import Learner, State
from nlcore.training.steps import precision, require_finite, to_input, weak_input

OBSERVE_BATCH = 1000
RECALIBRATION_IMAGES = 500


def observe(
    state: State,
    images: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    learner: Learner | None = None,
) -> Snapshot:
    """What a teacher sees of the training images, or of other (N, C, H, W) uint8 images with their labels.

    It is the first network's unless another `learner` is given.
    """
    index = state.index if images is None else None
    images = state.images if images is None else images
    labels = state.given_labels if labels is None else labels
    teacher = (learner or state.learners[0]).teacher
    distributed.agree(*teacher.buffers())
    teacher.eval()
    parts = images.split(OBSERVE_BATCH)
    logits = torch.zeros(len(images), teacher.classifier.out_features, device=images.device)
    features = torch.zeros(len(images), teacher.classifier.in_features, device=images.device)
    with torch.no_grad():
        widths = {name: head(features[:1]).shape[1] for name, head in teacher.heads.items()}
    heads = {name: torch.zeros(len(images), width, device=images.device) for name, width in widths.items()}
    with torch.no_grad(), precision(state):
        for number in distributed.mine(len(parts)):
            rows = slice(number * OBSERVE_BATCH, number * OBSERVE_BATCH + len(parts[number]))
            logits[rows], features[rows], outputs = teacher(to_input(state, parts[number]), with_heads=True)
            for name, output in outputs.items():
                heads[name][rows] = output
    distributed.add_up(logits, features, *heads.values())
    losses = F.cross_entropy(logits, labels, reduction="none")
    require_finite(losses.sum(), state)
    return Snapshot(logits, features, losses, index, heads)


def evaluate(state: State) -> float | None:
    """Test accuracy in per cent; None without a test set."""
    if len(state.test_labels) == 0:
        return None
    return accuracy(state, state.test_images, state.test_labels)


def accuracy(state: State, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of labels (N,) that the teachers' summed logits agree with, in per cent."""
    logits = sum(observe(state, images, labels, learner).logits for learner in state.learners)
    return 100 * float((logits.argmax(1) == labels).double().mean())


def recalibrate(state: State, learner: Learner | None = None) -> None:
    """Measure a teacher's batch-norm statistics on unmixed weak views of up to 500 training images."""
    teacher = (learner or state.learners[0]).teacher
    rows = torch.randperm(len(state.images), generator=state.generator, device=state.images.device)
    with precision(state):
        recalibrate_batch_norm(teacher, [weak_input(state, state.images[rows[:RECALIBRATION_IMAGES]])])
