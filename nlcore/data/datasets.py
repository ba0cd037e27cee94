"""Datasets as tensors: every image as uint8, in the official order, never a file per image.

`digits` is bundled with scikit-learn and `glyphs` are drawn (`nlcore.data.glyphs`), so a first run needs no network.
CIFAR is downloaded once by torchvision and kept as a single `.npz`; a present `.npz` is used as it is. What comes as
folders of image files is decoded once into a memory map, see `nlcore.data.folders`.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nlcore.basics.chance import SEEDS
from nlcore.basics.errors import InputError, choose, first_line, require
from nlcore.basics.files import user_path
from nlcore.data.checks import (
    as_integers,
    as_tensor,
    check_class_names,
    check_images,
    check_index,
    check_labels,
    check_no_empty_class,
)
from nlcore.data.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_COARSE_CLASSES, CIFAR100_SUPERCLASS
from nlcore.data.folders import load_folder_dataset
from nlcore.data.glyphs import LETTERS, load_glyphs
from nlcore.data.layouts import FOLDER_DATASETS
from nlcore.data.names import FEATURES
from nlcore.data.own import PREFIX, own_options, read_features, read_own
from nlcore.data.vectors import check_vectors, vector_statistics

FEATURE_SETS = {f"cifar10{FEATURES}": CIFAR10_CLASSES, f"cifar100{FEATURES}": CIFAR100_CLASSES}
DATASETS = ("digits", "glyphs", "cifar10", "cifar100", "cifar100_coarse", *FEATURE_SETS, *FOLDER_DATASETS)
STATISTICS_BATCH = 2000  # images whose pixels are counted at once

CIFAR_SHAPE = (32, 32, 3)  # of an image in its file


@dataclass(frozen=True)
class Dataset:
    """Images, or vectors, and labels of one task.

    Images and labels may also come as numpy arrays or lists: they become tensors, and integers of any width int64.

    Attributes
    ----------
    name : how results name it.
    train_images, test_images : (N, C, H, W) uint8, with the same C, H and W; or vectors, (N, d) float16 or float32
        (float64 becomes float32), with the same d. Without a test set, test_images has no rows.
    train_labels, test_labels : (N,) int64 in [0, K).
    class_names : K different names, two at least.
    train_index : (N,) int64, the row of each training sample in the whole training set; None becomes 0..N-1.
    full_size : samples in the whole training set; None becomes N.
    statistics : mean and standard deviation per channel, two (C,), if known without looking at the pixels; else None.
        Of vectors, those of each column, two (d,).
    files : names of the image files of the whole training set, where there are any; else None.

    Raises
    ------
    InputError : images that are not uint8 (NaN is named as such), with channels last, or of different sizes in training
        and test; vectors with a column that is not finite; labels of the wrong length or out of range; a class without
        a training sample, a name of a class twice, less than two classes; rows of the whole training set that are twice
        or outside it.
    """

    name: str
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    class_names: tuple[str, ...]
    train_index: torch.Tensor | None = None
    full_size: int | None = None
    statistics: tuple[torch.Tensor, torch.Tensor] | None = None
    files: tuple[str, ...] | None = None

    def __post_init__(self):
        self._set("class_names", tuple(map(str, self.class_names)))
        check_class_names(self.class_names, self.name)
        for split in ("train", "test"):
            images = as_tensor(getattr(self, f"{split}_images"), f"{self.name} {split} images")
            labels = as_integers(getattr(self, f"{split}_labels"), f"{self.name} {split} labels")
            if images.ndim == 2:
                check_vectors(images, f"{self.name} {split}")
                images = images.float() if images.dtype == torch.float64 else images
            else:
                check_images(images, f"{self.name} {split}")
            check_labels(labels, len(images), self.num_classes, f"{self.name} {split}")
            self._set(f"{split}_images", images)
            self._set(f"{split}_labels", labels)
        check_no_empty_class(self.train_labels, self.class_names, f"{self.name} train")
        train, test = (tuple(images.shape[1:]) for images in (self.train_images, self.test_images))
        if train != test:
            kind = "vectors" if self.holds_vectors else "images"
            raise InputError(f"{self.name} test {kind} are {test}, training {kind} {train}; they must be the same")
        n = len(self.train_images)
        index = torch.arange(n) if self.train_index is None else self.train_index
        self._set("train_index", as_integers(index, f"{self.name} train_index"))
        self._set("full_size", n if self.full_size is None else self.full_size)
        check_index(self.train_index, n, self.full_size, self.name)

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def holds_vectors(self) -> bool:
        """Whether its samples are vectors, not images."""
        return self.train_images.ndim == 2

    def channel_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation per channel of the training images in [0, 1]: two (C,) float tensors.

        Of vectors, those of each column as it is: two (d,).
        """
        if self.statistics is not None:
            return self.statistics
        if self.holds_vectors:
            return vector_statistics(self.train_images, f"{self.name} train")
        # Counting the 256 grey values is exact and needs no float copy of the images.
        grey = torch.arange(256, dtype=torch.float64) / 255
        counts = torch.zeros(self.train_images.shape[1], 256, dtype=torch.int64)
        for images in self.train_images.split(STATISTICS_BATCH):
            counts += torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.transpose(0, 1)])
        share = counts.double() / counts.sum(1, keepdim=True)
        mean = share @ grey
        std = (share @ grey.square() - mean.square()).clamp(min=1e-12).sqrt()
        return mean.float(), std.float()

    def rows(self, keep: torch.Tensor) -> "Dataset":
        """The same task with the training images `keep` (n,) int64 only, in that order; the test set is kept."""
        return replace(
            self,
            train_images=self.train_images[keep],
            train_labels=self.train_labels[keep],
            train_index=self.train_index[keep],
            statistics=None,
        )

    def subset(self, n: int, seed: int = 0) -> "Dataset":
        """The same task with `n` training images, drawn with the same share of every class; the test set is kept.

        It is drawn from its seed as noise is: where the whole has noise of the same seed, its labels are mostly wrong.
        """
        labels, num_classes = self.train_labels, self.num_classes
        if not num_classes <= n <= len(labels):
            raise InputError(f"subset of {n} samples: {self.name} allows {num_classes} to {len(labels)}")
        seed = SEEDS.check("seed", seed, whole=True)
        shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        # Each sample's place in its class, as a share of the class: the n smallest shares are a stratified draw.
        place = rank_in_class(shuffled.argsort(), labels, num_classes).double() + 0.5
        share = place / torch.bincount(labels, minlength=num_classes)[labels]
        return self.rows(shuffled[share[shuffled].argsort(stable=True)[:n]].sort().values)


def rank_in_class(values: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Place of each value (N,) among those of its label, 0 for the smallest: (N,) int64; ties keep their order."""
    order = values.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels, minlength=num_classes)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[labels[order]]
    return rank


def balanced_sample(labels: torch.Tensor, num_classes: int, n: int, generator: torch.Generator) -> torch.Tensor:
    """About `n` rows with equally many of every label, drawn without replacement: (m,) int64 in ascending order.

    Classes with fewer than n / K samples give all they have and are not filled up by others, as in DivideMix's runs on
    Clothing1M. Ascending, so that a memory map is read from front to back.
    """
    place = rank_in_class(torch.randperm(len(labels), generator=generator), labels, num_classes)
    return (place < -(-n // num_classes)).nonzero().flatten()


def data_root(root: str | Path | None = None) -> Path:
    """The folder that data is read from and kept in: `root`, else `$NLCORE_DATA`, else `~/.cache/nlcore`."""
    return user_path(root or os.environ.get("NLCORE_DATA") or "~/.cache/nlcore")


def load_dataset(
    name: str, root: str | Path | None = None, image_size: int | None = None, **options: str | float | None
) -> Dataset:
    """Load a dataset by name, or own data by path.

    Parameters
    ----------
    name : `digits` (bundled, 8 x 8), `glyphs` (letters, 16 x 16, drawn in a second), `cifar10`, `cifar100`,
        `cifar100_coarse` (its twenty superclasses), `cifar10_features` and `cifar100_features` (vectors that `nlcore
        features` made of their images), or a dataset that lies in a folder: `tiny_imagenet`, `clothing1m`,
        `animal10n`, `food101n`, `webvision_mini`. The training labels of the last four are as noisy as they
        came: train on them with noise `given`.
        Or `path:FOLDER`, `path:TABLE`, `path:FILE.npz` or `.npy`: see `nlcore.data.own`.
    root : where the data lies, see `data_root`. Unused by `digits` and `glyphs`.
    image_size : side in pixels that images from a folder are decoded at; None = the dataset's usual one.
    options : of own data, `label_column`, `text_column`, `image_column`, `test`: see `nlcore.data.own.Options`.

    Raises
    ------
    InputError : an unknown name, a damaged file, a folder that is not laid out as expected, or no network when a
        download is needed.
    """
    require(name, str, "the name of a dataset")
    if name.startswith(PREFIX):
        chosen = own_options(options | {"image_size": image_size})
        return Dataset(name, **read_own(name.removeprefix(PREFIX), chosen, data_root(root)))
    own = name not in DATASETS and user_path(name).exists()
    choose("dataset", name, (*DATASETS, f"{PREFIX}{name if own else 'YOUR_DATA'}"))
    if options:
        raise InputError(f"{', '.join(options)}: only for own data, {PREFIX}FOLDER or {PREFIX}FILE, not for {name}")
    if image_size is not None and name not in FOLDER_DATASETS:
        raise InputError(f"image_size is for images that lie in files, not for {name}")
    if name == "digits":
        return _load_digits()
    if name == "glyphs":
        train, test = load_glyphs()
        return Dataset("glyphs", train.images, train.labels, test.images, test.labels, LETTERS)
    root = data_root(root)
    if name in FEATURE_SETS:
        return Dataset(name, **read_features(name, FEATURE_SETS[name], root))
    if name in FOLDER_DATASETS:
        decoded = load_folder_dataset(name, root, image_size)
        parts = ("train_images", "train_labels", "test_images", "test_labels", "class_names", "statistics")
        return Dataset(name, **{part: getattr(decoded, part) for part in parts})
    file_name = "cifar10" if name == "cifar10" else "cifar100"
    path = root / f"{file_name}.npz"
    if not path.exists():
        _download_cifar(file_name, path)
    dataset = _read_npz(file_name, path, CIFAR10_CLASSES if name == "cifar10" else CIFAR100_CLASSES)
    return _with_superclasses(dataset) if name == "cifar100_coarse" else dataset


def _with_superclasses(cifar100: Dataset) -> Dataset:
    superclass = torch.tensor(CIFAR100_SUPERCLASS)
    return replace(
        cifar100,
        name="cifar100_coarse",
        train_labels=superclass[cifar100.train_labels],
        test_labels=superclass[cifar100.test_labels],
        class_names=CIFAR100_COARSE_CLASSES,
    )


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
        for key in ("x_train", "x_test"):
            if arrays[key].shape[1:] != CIFAR_SHAPE:
                raise ValueError(f"{key} is {arrays[key].shape}, not (N, 32, 32, 3)")
        images = {s: torch.from_numpy(arrays[f"x_{s}"]).permute(0, 3, 1, 2).contiguous() for s in ("train", "test")}
        labels = {s: torch.from_numpy(arrays[f"y_{s}"].astype(np.int64)) for s in ("train", "test")}
    except Exception as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"{path} is damaged ({why}); delete it to load again") from error
    return Dataset(name, images["train"], labels["train"], images["test"], labels["test"], class_names)


def _download_cifar(name: str, path: Path) -> None:
    try:
        from torchvision import datasets
    except Exception as error:  # a CPU-only torch breaks torchvision with a RuntimeError, not an ImportError
        why = f"downloading {name} needs a working torchvision ({first_line(error)})"
        raise InputError(f"{why}; or put {path} there") from error
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
        why = f"{path} is not there, and {name} could not be downloaded ({first_line(error)})"
        raise InputError(f"{why}; make that file, of x_train, y_train, x_test and y_test") from error
