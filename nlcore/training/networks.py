"""Networks small and large, and the two pieces of care that a network needs when its labels are noisy.

`forward` gives logits and pooled features, because both methods look at both. Average weights (EMA) are the largest
single gain of our first experiments; batch-norm statistics have to describe the images that are judged, not the mixed
images of MixMatch.

A network's `stem`, its first layers, is part of a result: an ImageNet stem, which shrinks a 32 x 32 image to 8 x 8
before the first block, costs CIFAR about ten points.
"""

import copy
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from nlcore.basics.chance import seeded
from nlcore.basics.errors import InputError, choose, first_line


class Network(nn.Module):
    """Maps images to a feature map (`body`), pools it and classifies it linearly.

    `forward`: float images (B, C, H, W), or vectors, -> logits (B, K), features (B, d), both float32; and `with_heads`
    the outputs of the extra heads that a method has put on the features, by name, in float32 too.
    """

    stem: str  # the first layers, in words
    body: nn.Sequential
    classifier: nn.Linear

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict()

    def forward(self, images: torch.Tensor, with_heads: bool = False) -> tuple:
        # In float32 from here on: losses of bfloat16 logits would come in a few hundred distinct values.
        features = self.pool(self.body(images).float())
        if not with_heads:
            return self.classify(features), features
        with torch.autocast(features.device.type, enabled=False):
            return self.classify(features), features, {name: head(features) for name, head in self.heads.items()}

    def pool(self, body: torch.Tensor) -> torch.Tensor:
        """The features (B, d) of what the body gives, here a feature map (B, d, H, W)."""
        return body.mean((2, 3))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """The linear head alone: features (B, d) -> logits (B, K)."""
        with torch.autocast(features.device.type, enabled=False):
            return self.classifier(features.float())


class ConvNet(Network):
    """3 x 3 convolutions with batch norm and ReLU, then global average pooling and one linear classifier.

    `widths` gives the channels of each convolution; a `"pool"` between them halves the resolution.
    """

    stem = "3x3"

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


class VectorNet(Network):
    """For vectors: a linear classifier on them as they are, or on one hidden layer with batch norm and ReLU."""

    def __init__(self, dim: int, num_classes: int, hidden: int | None):
        super().__init__()
        self.stem = "none" if hidden is None else f"linear, {hidden} hidden"
        layers = [] if hidden is None else [nn.Linear(dim, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(True)]
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(hidden or dim, num_classes)

    def pool(self, body: torch.Tensor) -> torch.Tensor:
        """What the body gives are the features."""
        return body


class PreActBlock(nn.Module):
    """Two 3 x 3 convolutions, each after its batch norm and ReLU; the shortcut starts from the activated input."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = F.relu(self.norm1(x))
        skipped = x if self.shortcut is None else self.shortcut(activated)
        return skipped + self.conv2(F.relu(self.norm2(self.conv1(activated))))


class PreActResNet18(Network):
    """Pre-activation ResNet-18 (He et al., 2016) as the noisy-label family builds it: 512 features, no ReLU at the end.

    The stem is one 3 x 3 convolution, of stride 1 for images below 64 pixels and of stride 2 from there on
    (Tiny-ImageNet), so that the last feature map is 4 x 4 in both.
    """

    def __init__(self, in_channels: int, num_classes: int, image_size: int):
        super().__init__()
        stride = 1 if image_size < 64 else 2
        self.stem = f"3x3, stride {stride}"
        layers, width = [nn.Conv2d(in_channels, 64, 3, stride, padding=1, bias=False)], 64
        for channels in (64, 64, 128, 128, 256, 256, 512, 512):
            layers.append(PreActBlock(width, channels, stride=1 if channels == width else 2))
            width = channels
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, num_classes)


class TorchvisionResNet(Network):
    """ResNet-34 or ResNet-50 of torchvision.

    Images below 128 pixels meet one 3 x 3 convolution instead of the ImageNet stem (7 x 7 of stride 2, then a pool);
    its stride is 2 from 64 pixels on. `pretrained` loads torchvision's ImageNet weights, which it downloads once.
    """

    def __init__(self, name: str, in_channels: int, num_classes: int, image_size: int, pretrained: bool):
        super().__init__()
        from torchvision.models import get_model

        try:
            resnet = get_model(name, weights="DEFAULT" if pretrained else None)
        except OSError as error:
            raise InputError(f"cannot download the ImageNet weights of {name}: {first_line(error)}") from error
        self.stem = "7x7, stride 2, pool"
        if image_size < 128:
            stride = 1 if image_size < 64 else 2
            self.stem = f"3x3, stride {stride}"
            resnet.conv1 = nn.Conv2d(in_channels, 64, 3, stride, padding=1, bias=False)
            resnet.maxpool = nn.Identity()
        elif in_channels != 3:
            resnet.conv1 = nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False)
        self.classifier = nn.Linear(resnet.fc.in_features, num_classes)
        del resnet.fc, resnet.avgpool  # ours
        self.body = nn.Sequential(*resnet.children())


# name -> convolutions. For a 32 x 32 image `small` costs 39 MFLOP (20 million multiply-adds) and `tiny` 17; for a digit
# `digits_cnn`, the network of the book's first edition, costs 3.0 and `digits_small`, as accurate, 0.9;
# for a glyph `glyphs_small` costs 1.3.
CONVOLUTIONS = {
    "digits_small": (32, "pool", 64, "pool", 64),
    "digits_cnn": (32, 32, "pool", 64, 64),
    "glyphs_small": (16, "pool", 32, "pool", 64),
    "small": (16, 32, "pool", 32, 64, "pool", 64, 128),
    "tiny": (16, "pool", 32, 32, "pool", 64, 64, "pool", 128),
}
VECTOR_NETWORKS = {"mlp": 256, "linear": None}  # name -> hidden units
NETWORKS = (*CONVOLUTIONS, "whitened", "preact_resnet18", "resnet34", "resnet50", *VECTOR_NETWORKS)


def build_network(
    name: str, in_channels: int, num_classes: int, seed: int, image_size: int = 32, pretrained: bool = False
) -> Network:
    """A freshly initialised network for images of a size (the shorter side, in pixels), or for vectors.

    `in_channels` is the number of features of a vector. The weights depend on `seed` alone and the global random state
    is left as it was. `pretrained` is for `resnet34` and `resnet50`.

    Raises
    ------
    InputError : an unknown name; images too small for it; `pretrained` weights that do not exist or cannot be
        downloaded.
    """
    choose("network", name, NETWORKS)
    if pretrained and not name.startswith("resnet"):
        raise InputError(f"there are no pretrained weights for {name}; only for resnet34 and resnet50")
    with seeded(seed):
        if name in CONVOLUTIONS:
            smallest = 2 ** CONVOLUTIONS[name].count("pool")
            if image_size < smallest:
                raise InputError(f"{name} needs images of {smallest} pixels at least, and these have {image_size}")
            return ConvNet(in_channels, num_classes, CONVOLUTIONS[name])
        if name in VECTOR_NETWORKS:
            return VectorNet(in_channels, num_classes, VECTOR_NETWORKS[name])
        if name == "whitened":
            from nlcore.training.whitened import SMALLEST, WhitenedNet

            if image_size < SMALLEST:
                raise InputError(f"{name} needs images of {SMALLEST} pixels at least, and these have {image_size}")
            return WhitenedNet(in_channels, num_classes)
        if name == "preact_resnet18":
            return PreActResNet18(in_channels, num_classes, image_size)
        return TorchvisionResNet(name, in_channels, num_classes, image_size, pretrained)


def average_weights(teacher: list[torch.Tensor], student: list[torch.Tensor], decay: float) -> None:
    """Exponential moving average of two lists of parameters, in place: teacher <- decay teacher + (1 - decay) student.

    Parameters only. Copying the student's batch-norm statistics, which describe mixed images, into the teacher cost
    2 points and stopped all progress in our first experiments: see `recalibrate_batch_norm`.
    """
    with torch.no_grad():
        torch._foreach_lerp_(teacher, student, 1 - decay)


def recalibrate_batch_norm(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace the running statistics of every batch norm by their mean over `batches` of unmixed images, in place."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # None asks for the plain mean over all batches
    network.train()
    asked = {"with_heads": True} if len(getattr(network, "heads", ())) else {}  # their batch norms are measured too
    with torch.no_grad():
        for images in batches:
            network(images, **asked)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy that no optimiser moves: the start of an average-weight teacher."""
    return copy.deepcopy(network).requires_grad_(False)
