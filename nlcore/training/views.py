"""Weak views of image batches, as tensor functions on the device: no Python per image, every draw from a generator.

`weak_views` is the crop and flip of the CIFAR literature; strong views are in `nlcore.training.randaugment`.
"""

import torch
import torch.nn.functional as F


def weak_views(images: torch.Tensor, pad: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Random crops after zero padding by `pad` pixels, mirrored with probability 1/2 if `flip`.

    images (B, C, H, W) of any dtype -> the same shape and dtype.
    """
    n, _, height, width = images.shape
    device = images.device
    if pad:
        # A view of every possible crop costs no memory; indexing it copies just the chosen ones.
        crops = F.pad(images, (pad,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        top, left = torch.randint(0, 2 * pad + 1, (2, n), generator=generator, device=device)
        images = crops[torch.arange(n, device=device), :, top, left]
    if flip:
        mirrored = torch.rand(n, generator=generator, device=device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return images


def normalise(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """uint8 (B, C, H, W) -> float32 with the training set's mean 0 and standard deviation 1 per channel."""
    scale = (1 / (255 * std)).view(1, -1, 1, 1)
    return images.float() * scale - (mean / std).view(1, -1, 1, 1)
