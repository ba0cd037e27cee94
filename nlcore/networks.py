"""Two small networks, and the two pieces of care that a network needs when its labels are noisy.

`forward` gives logits and pooled features, because both methods look at both. Average weights (EMA) are the largest
single gain of our first experiments; batch-norm statistics have to describe the images that are judged, not the mixed
images of MixMatch.
"""

import copy
from collections.abc import Iterable
from contextlib import contextmanager

import torch
from torch import nn

from nlcore.errors import choose


class ConvNet(nn.Module):
    """3 x 3 convolutions with batch norm and ReLU, then global average pooling and one linear classifier.

    `widths` gives the channels of each convolution; a `"pool"` between them halves the resolution.
    `forward`: float images (B, C, H, W) -> logits (B, K), features (B, d), both float32 and the features >= 0.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: tuple):
        super().__init__()
        layers = []
        for width in widths:
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
            in_channels = width
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Pooled in float32: losses of bfloat16 logits would come in a few hundred distinct values.
        features = self.body(images).float().mean((2, 3))
        return self.classify(features), features

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """The linear head alone: features (B, d) -> logits (B, K)."""
        with torch.autocast(features.device.type, enabled=False):
            return self.classifier(features.float())


# name -> convolutions. `small` costs 20 million multiply-adds for a 32 x 32 image.
NETWORKS = {
    "digits_cnn": (32, 32, "pool", 64, 64),
    "small": (16, 32, "pool", 32, 64, "pool", 64, 128),
}


def build_network(name: str, in_channels: int, num_classes: int, seed: int) -> ConvNet:
    """A freshly initialised network; the weights depend on `seed` alone and the global random state is left as it
    was."""
    choose("network", name, NETWORKS)
    with seeded(seed):
        return ConvNet(in_channels, num_classes, NETWORKS[name])


@contextmanager
def seeded(seed: int):
    """Run torch's global generator from `seed` inside the block and restore it afterwards.

    For code that offers no generator argument, such as weight initialisation and dropout.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def average_weights(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Exponential moving average, in place: teacher <- decay teacher + (1 - decay) student.

    Parameters only. Copying the student's batch-norm statistics, which describe mixed images, into the teacher cost
    2 points and stopped all progress in our first experiments: see `recalibrate_batch_norm`.
    """
    with torch.no_grad():
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - decay)


def recalibrate_batch_norm(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace the running statistics of every batch norm by their mean over `batches` of unmixed images, in place."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None asks for the plain mean over all batches
    network.train()
    with torch.no_grad():
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy that no optimiser moves: the start of an average-weight teacher."""
    return copy.deepcopy(network).requires_grad_(False)
