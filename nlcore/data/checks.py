"""What a dataset has to be before anything is made of it: each check names what is wrong in one line."""

import re

import numpy as np
import torch

from nlcore.basics.errors import InputError, first_line


def as_tensor(values, what: str) -> torch.Tensor:
    """A tensor as it is, else the tensor of an array or list; an `InputError` if it holds anything but numbers."""
    if isinstance(values, torch.Tensor):
        return values
    try:
        return torch.from_numpy(np.ascontiguousarray(values))
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be an array of numbers ({first_line(error)})") from error


def as_integers(values, what: str) -> torch.Tensor:
    """The same, with integers of any width as int64."""
    tensor = as_tensor(values, what)
    whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return tensor.long() if whole else tensor


def check_class_names(class_names: tuple[str, ...], what: str) -> None:
    """Raise an `InputError` unless there are two different names at least, and none twice."""
    if len(class_names) < 2:
        raise InputError(f"{what} has {len(class_names)} class; there is something to learn from two on")
    if len(set(class_names)) != len(class_names):
        twice = next(name for name in class_names if class_names.count(name) > 1)
        raise InputError(f"{what} has two classes called {twice!r}; give each a name of its own")


def check_images(images: torch.Tensor, what: str) -> None:
    """Raise an `InputError` unless `images` is an (N, C, H, W) uint8 tensor. What is no vector comes here too."""
    if images.is_floating_point() and bool(torch.isnan(images).any()):
        bad = int(torch.isnan(images).flatten(1).any(1).nonzero()[0])
        raise InputError(f"{what} images hold NaN (first in image {bad})")
    if images.dtype != torch.uint8 or images.ndim != 4:
        wanted = "images, uint8 (N, C, H, W), or vectors, floats (N, d)"
        raise InputError(f"{what} data must be {wanted}; these are {images.dtype} {tuple(images.shape)}")
    channels, _, width = images.shape[1:]
    if (width in (1, 3) and channels not in (1, 3)) or channels > 4 >= width:
        raise InputError(
            f"{what} images must be (N, C, H, W), and {tuple(images.shape)} has its channels last: permute(0, 3, 1, 2)"
        )


def check_labels(labels: torch.Tensor, n: int, num_classes: int, what: str) -> None:
    """Raise an `InputError` unless `labels` holds `n` integers in [0, num_classes)."""
    if labels.shape != (n,):
        raise InputError(f"{what} labels have shape {tuple(labels.shape)}, {n} samples need ({n},)")
    if labels.dtype != torch.int64:
        raise InputError(f"{what} labels must be int64, not {labels.dtype}")
    outside = (labels < 0) | (labels >= num_classes)
    if bool(outside.any()):
        at = int(outside.nonzero()[0])
        raise InputError(f"{what} labels must lie in [0, {num_classes}): label {int(labels[at])} at index {at}")


def check_no_empty_class(labels: torch.Tensor, class_names: tuple[str, ...], what: str) -> None:
    """Raise an `InputError` that names the classes without a sample."""
    counts = torch.bincount(labels, minlength=len(class_names))
    empty = [class_names[c] for c in (counts == 0).nonzero().flatten().tolist()]
    if empty:
        raise InputError(f"{what} labels: no sample of class {', '.join(empty)}")


def check_index(index: torch.Tensor, n: int, full_size: int, what: str) -> None:
    """Raise an `InputError` unless `index` holds `n` different rows in [0, full_size)."""
    if index.shape != (n,):
        raise InputError(f"{what} train_index has shape {tuple(index.shape)}, {n} samples need as many")
    if index.dtype != torch.int64 or int(index.min()) < 0 or int(index.max()) >= full_size or len(index.unique()) != n:
        rows = f"different rows of 0 to {full_size - 1}"
        raise InputError(f"{what} train_index must hold {rows}, the whole training set, whose size is full_size")


def check_name(name: str, where: str = "") -> None:
    """Raise an `InputError` unless a name is UTF-8, as reports and tables are; a byte that is not is shown as \\xe9."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", name)
        shown = shown.encode(errors="backslashreplace").decode()
        raise InputError(f"{where}{shown} is not UTF-8; rename it") from error
