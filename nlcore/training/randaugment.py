"""Strong views: RandAugment (Cubuk et al., 2020) for a whole batch at once.

Every image gets two of fourteen operations. The usual way draws an operation for each image on its own; here a random
permutation deals the batch out, so that each operation gets an equal share of it, half of that with each sign. For one
image nothing changes: all fourteen are as likely. But no operation runs on images that did not draw it, and the sizes
of the shares are known without asking the device.

Operations, ranges and magnitude (9 of 30) are those of torchvision's `RandAugment`, which also does the colours; shears
turn around the centre of the image.
"""

import math

import torch
import torch.nn.functional as F

from nlcore.training.views import weak_views

OPERATIONS_PER_IMAGE = 2
STRENGTH = 9 / 30


def tv():
    """torchvision's functions on images. Their import takes longer than that of all else here, so: only when used."""
    from torchvision.transforms.v2 import functional

    return functional


def sharpen(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Blend images (B, C, H, W) uint8 with their smoothed selves; above 1 sharper, below 1 softer.

    As torchvision does it; but its kernel comes from the host, and a GPU waits for that.
    """
    channels = images.shape[1]
    kernel = torch.full((channels, 1, 3, 3), 1 / 13, device=images.device)
    kernel[:, :, 1, 1] = 5 / 13
    sharpened = images.float()
    inner = sharpened[:, :, 1:-1, 1:-1]  # the border stays as it is
    smooth = F.conv2d(sharpened, kernel, groups=channels).round()
    inner.copy_(smooth + factor * (inner - smooth))
    return sharpened.clamp(0, 255).to(torch.uint8)


# (m, C, H, W) uint8 -> the same, with one factor or threshold for all.
SIGNED = {
    "brightness": lambda images, sign: tv().adjust_brightness(images, 1 + sign * 0.9 * STRENGTH),
    "saturation": lambda images, sign: tv().adjust_saturation(images, 1 + sign * 0.9 * STRENGTH),
    "contrast": lambda images, sign: tv().adjust_contrast(images, 1 + sign * 0.9 * STRENGTH),
    "sharpness": lambda images, sign: sharpen(images, 1 + sign * 0.9 * STRENGTH),
}
UNSIGNED = {
    "identity": lambda images: images,
    "posterize": lambda images: tv().posterize(images, bits=8 - round(4 * STRENGTH)),
    "solarize": lambda images: tv().solarize(images, threshold=255 * (1 - STRENGTH)),
    "autocontrast": lambda images: tv().autocontrast(images),
    "equalize": lambda images: tv().equalize(images),
}
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
OPERATIONS = (*GEOMETRIC, *SIGNED, *UNSIGNED)


def strong_views(images: torch.Tensor, pad: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """A weak view, then RandAugment: images (B, C, H, W) uint8 -> (B, C, H, W) uint8.

    Digits, which do not survive a mirror (`flip` false), are turned, sheared and shifted half as far.
    """
    views = weak_views(images, pad, flip, generator)
    for _ in range(OPERATIONS_PER_IMAGE):
        views = random_operations(views, 1.0 if flip else 0.5, generator)
    return views


def random_operations(images: torch.Tensor, reach: float, generator: torch.Generator) -> torch.Tensor:
    """One random operation on each image; `reach` scales the geometric ones. (B, C, H, W) uint8 -> the same."""
    n, shares = len(images), 2 * len(OPERATIONS)
    # Filled up with repeated images until all shares are equal; what was made of those is thrown away.
    filled = -(-n // shares) * shares
    views = images[torch.arange(filled, device=images.device) % n]
    dealt = torch.randperm(filled, generator=generator, device=images.device).view(len(OPERATIONS), 2, -1)
    moved = dealt[: len(GEOMETRIC)]
    views[moved.flatten()] = warp(views[moved.flatten()], transforms(moved, images, reach))
    for name, (plus, minus) in zip(OPERATIONS[len(GEOMETRIC) :], dealt[len(GEOMETRIC) :], strict=True):
        if name in SIGNED:
            views[plus], views[minus] = SIGNED[name](views[plus], 1), SIGNED[name](views[minus], -1)
        elif name != "identity":
            both = torch.cat([plus, minus])
            views[both] = UNSIGNED[name](views[both])
    return views[:n]


def transforms(moved: torch.Tensor, images: torch.Tensor, reach: float) -> torch.Tensor:
    """The matrix of every geometric operation, from output to input coordinates in pixels around the centre.

    moved (5, 2, m), of which only the shape counts: operations, signs, images -> (10 m, 2, 3) in the same order.
    """
    height, width = images.shape[2:]
    matrix = torch.zeros(*moved.shape, 2, 3, device=images.device)
    matrix[..., 0, 0] = matrix[..., 1, 1] = 1
    for number, sign in enumerate((1, -1)):
        shear_x, shear_y, translate_x, translate_y, rotate = matrix[:, number]
        size = sign * reach * STRENGTH
        shear_x[:, 0, 1] = shear_y[:, 1, 0] = 0.3 * size
        # At least one pixel, or nothing would move in an 8 x 8 digit.
        translate_x[:, 0, 2] = sign * max(1, int(150 / 331 * width * reach * STRENGTH))
        translate_y[:, 1, 2] = sign * max(1, int(150 / 331 * height * reach * STRENGTH))
        angle = math.radians(30) * size
        rotate[:, 0, 0] = rotate[:, 1, 1] = math.cos(angle)
        rotate[:, 0, 1], rotate[:, 1, 0] = -math.sin(angle), math.sin(angle)
    return matrix.flatten(0, 2)


def warp(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Move pixels to their nearest new places; what comes from outside is black.

    images (B, C, H, W) uint8; matrix (B, 2, 3) from output to input coordinates in pixels around the centre.
    """
    height, width = images.shape[2:]
    # `affine_grid` counts in half widths and half heights.
    scaled = matrix.clone()
    scaled[:, 0, 1] *= height / width
    scaled[:, 1, 0] *= width / height
    scaled[:, 0, 2] *= 2 / width
    scaled[:, 1, 2] *= 2 / height
    grid = F.affine_grid(scaled, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)
