"""A network that buys accuracy with few operations: all of CIFAR-10 on a processor in minutes.

As in Jordan's airbench (arXiv 2404.00498), the first layer is not learnt but computed from the images, and decorrelates
the pixels of each 2 x 2 patch; GELU stands in place of ReLU; and a few wide blocks halve the resolution before they
compute much. Widths are ours.
"""

import torch
import torch.nn.functional as F
from torch import nn

from nlcore.training.networks import Network

WIDTHS = (64, 128, 128)
SMALLEST = 16  # pixels: three blocks leave one
PATCHES_OF = 2000  # images that the first layer is computed from
FLOOR = 5e-4  # added to the variances: the weakest directions are noise, and would be blown up to be as loud as others


class WhitenedNet(Network):
    """A whitening layer, three blocks of two convolutions, the largest value of each map, and one linear classifier.

    Before `whiten` the first layer is random. It is part of the weights, and is never trained.
    """

    stem = "2x2, whitened"

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 8 * in_channels, 2, bias=False)
        self.first.weight.requires_grad = False
        layers, before = [self.first, nn.GELU()], 8 * in_channels
        for width in WIDTHS:
            layers += [*_convolution(before, width, nn.MaxPool2d(2)), *_convolution(width, width)]
            before = width
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, num_classes)

    def pool(self, body: torch.Tensor) -> torch.Tensor:
        """The largest value of each map."""
        return body.amax((2, 3))

    @torch.no_grad()
    def whiten(self, images: torch.Tensor) -> None:
        """Compute the first layer from normalised images (N, C, H, W), float32."""
        filters = whitening_filters(images)
        # Both signs of each direction, because an activation lets only one of them through.
        self.first.weight.copy_(torch.cat([filters, -filters]))


def _convolution(before: int, width: int, *between: nn.Module) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(before, width, 3, padding=1, bias=False),
        *between,
        nn.BatchNorm2d(width),
        nn.GELU(),
    )


def whitening_filters(images: torch.Tensor) -> torch.Tensor:
    """Filters (4 C, C, 2, 2) whose outputs on the 2 x 2 patches of images (N, C, H, W) are uncorrelated, with variance
    1; a direction in which patches vary less than `FLOOR` has less."""
    channels = images.shape[1]
    patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 4 * channels)
    values, vectors = torch.linalg.eigh(patches.T.double().cov())
    return (vectors / (values + FLOOR).sqrt()).T.reshape(-1, channels, 2, 2).to(images.dtype)
