"""Datasets as tensors: every image in memory as uint8, in the official order, never a file per image.

`digits` is bundled with scikit-learn, so a first run needs no network. CIFAR is downloaded once by torchvision and
kept as a single `.npz`; a present `.npz` is used as it is.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nlcore.errors import InputError, choose

DATASETS = ("digits", "cifar10", "cifar100")

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale
    willow_tree wolf woman worm""".split()
)


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one task, held whole.

    Attributes
    ----------
    name : how results name it.
    train_images, test_images : (N, C, H, W) uint8.
    train_labels, test_labels : (N,) int64 in [0, K).
    class_names : K names.

    Raises
    ------
    InputError : images that are not uint8 (NaN is named as such), labels of the wrong length or out of range, a class
        without a training sample.
    """

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    class_names: tuple[str, ...]

    def __post_init__(self):
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            check_images(images, f"{self.name} {split}")
            check_labels(labels, len(images), len(self.class_names), f"{self.name} {split}")
        check_no_empty_class(self.train_labels, self.class_names, f"{self.name} train")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def channel_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation per channel of the training images in [0, 1]: two (C,) float tensors."""
        # Counting the 256 grey values is exact and needs no float copy of the images.
        grey = torch.arange(256, dtype=torch.float64) / 255
        counts = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in self.train_images.transpose(0, 1)])
        share = counts.double() / counts.sum(1, keepdim=True)
        mean = share @ grey
        std = (share @ grey.square() - mean.square()).clamp(min=1e-12).sqrt()
        return mean.float(), std.float()

    def subset(self, n: int, seed: int = 0) -> "Dataset":
        """The same task with `n` training images, drawn with the same share of every class; the test set is kept."""
        if not self.num_classes <= n <= len(self.train_labels):
            raise InputError(f"subset of {n} images: {self.name} allows {self.num_classes} to {len(self.train_labels)}")
        generator = torch.Generator().manual_seed(seed)
        shuffled = torch.randperm(len(self.train_labels), generator=generator)
        # Rank of each sample inside its class, as a share of the class: the n smallest shares are a stratified draw.
        labels = self.train_labels[shuffled]
        order = torch.argsort(labels, stable=True)
        counts = torch.bincount(labels, minlength=self.num_classes)
        rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
        share = torch.empty(len(labels), dtype=torch.float64)
        share[order] = (rank.double() + 0.5) / counts[labels[order]]
        keep = shuffled[torch.argsort(share, stable=True)[:n]].sort().values
        return replace(self, train_images=self.train_images[keep], train_labels=self.train_labels[keep])


def check_images(images: torch.Tensor, what: str) -> None:
    """Raise an `InputError` unless `images` is an (N, C, H, W) uint8 tensor."""
    if images.is_floating_point() and bool(torch.isnan(images).any()):
        bad = int(torch.isnan(images).flatten(1).any(1).nonzero()[0])
        raise InputError(f"{what} images hold NaN (first in image {bad})")
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise InputError(f"{what} images must be uint8 of shape (N, C, H, W), not {images.dtype} {tuple(images.shape)}")


def check_labels(labels: torch.Tensor, n: int, num_classes: int, what: str) -> None:
    """Raise an `InputError` unless `labels` holds `n` integers in [0, num_classes)."""
    if labels.shape != (n,):
        raise InputError(f"{what} labels have shape {tuple(labels.shape)}, {n} images need ({n},)")
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


def load_dataset(name: str, root: str | Path | None = None) -> Dataset:
    """Load a dataset by name.

    Parameters
    ----------
    name : `digits` (bundled, 8 x 8), `cifar10` or `cifar100`.
    root : folder of the `.npz` cache; default `$NLCORE_DATA`, else `~/.cache/nlcore`. Unused by `digits`.

    Raises
    ------
    InputError : an unknown name, a damaged cache file, or no network when a download is needed.
    """
    choose("dataset", name, DATASETS)
    if name == "digits":
        return _load_digits()
    root = Path(root or os.environ.get("NLCORE_DATA") or Path.home() / ".cache" / "nlcore")
    path = root / f"{name}.npz"
    if not path.exists():
        _download_cifar(name, path)
    return _read_npz(name, path, CIFAR10_CLASSES if name == "cifar10" else CIFAR100_CLASSES)


def _load_digits() -> Dataset:
    """1,347 training and 450 test images; the stratified split is fixed, so that every seed sees the same test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    train, test = train_test_split(np.arange(len(labels)), test_size=450, stratify=bunch.target, random_state=0)
    train, test = torch.from_numpy(np.sort(train)), torch.from_numpy(np.sort(test))
    names = tuple(str(digit) for digit in range(10))
    return Dataset("digits", images[train], labels[train], images[test], labels[test], names)


def _read_npz(name: str, path: Path, class_names: tuple[str, ...]) -> Dataset:
    # A damaged archive shows itself in many ways (bad zip, bad checksum, missing key, wrong shape): one line for all.
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in ("x_train", "y_train", "x_test", "y_test")}
        images = {s: torch.from_numpy(arrays[f"x_{s}"]).permute(0, 3, 1, 2).contiguous() for s in ("train", "test")}
        labels = {s: torch.from_numpy(arrays[f"y_{s}"].astype(np.int64)) for s in ("train", "test")}
    except Exception as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {_first_line(error)}); delete it to load again"
        ) from error
    return Dataset(name, images["train"], labels["train"], images["test"], labels["test"], class_names)


def _download_cifar(name: str, path: Path) -> None:
    try:
        from torchvision import datasets
    except Exception as error:  # a CPU-only torch breaks torchvision with a RuntimeError, not an ImportError
        raise InputError(
            f"downloading {name} needs a working torchvision ({_first_line(error)}); or put {path} there"
        ) from error
    source = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            train = source(folder, train=True, download=True)
            test = source(folder, train=False, download=True)
            target = Path(folder) / "done.npz"
            np.savez(target, x_train=train.data, y_train=train.targets, x_test=test.data, y_test=test.targets)
            os.replace(target, path)
    except Exception as error:
        raise InputError(
            f"{name} is not in {path.parent} and could not be downloaded ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
