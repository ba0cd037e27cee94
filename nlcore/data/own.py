"""Own data by path: a folder of images, a table, or arrays, with labels that may be words.

    path:FOLDER              one folder a class, images of any size and colour mode
    path:TABLE               .csv, .tsv (also .gz) or .parquet: a label column, and numbers, a text or image files
    path:FILE.npz            arrays `inputs` and `labels`; and `test_inputs` and `test_labels`, if there are any
    path:FILE.npy            vectors or images, with the labels in FILE_labels.npy, .csv or .txt beside it

What is read becomes images or vectors; class names are the labels that were found, in order.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlcore.basics.errors import InputError, choose
from nlcore.basics.files import user_path
from nlcore.basics.ranges import Range, check_fields, within
from nlcore.data.arrays import ARRAY_SUFFIXES, dimensions, input_tensor, read_arrays, read_test_arrays
from nlcore.data.checks import check_name
from nlcore.data.folders import decoded
from nlcore.data.layouts import IMAGE_SUFFIXES, Listing
from nlcore.data.names import pictured
from nlcore.data.tables import TABLE_SUFFIXES, Table, read_table

PREFIX = "path:"
IMAGE_SIZE = 32  # side in pixels that image files are decoded at, unless something else is asked for
SPLITS = Range(above=0, below=1)
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}  # folders that are no classes
OWN_IMAGES = (*IMAGE_SUFFIXES, ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Options:
    """What has to be said of own data where it cannot be guessed.

    Attributes
    ----------
    image_size : side in pixels that image files are decoded at.
    label_column : of a table, also of one beside a .npy file, or the name of an array in a .npz file.
    text_column, image_column : of a table. A text becomes numbers, TF-IDF and truncated SVD; image files are looked for
        beside the table. Without these two, all columns of numbers are the vector.
    test : a path of the same kind with the test set, or a share in (0, 1) that is split off, the same of every class;
        None = there is no test set, and training reports no test accuracy.
    """

    image_size: int | None = within(None, Range(1))
    label_column: str | None = None
    text_column: str | None = None
    image_column: str | None = None
    test: str | float | None = None


@dataclass(frozen=True)
class Samples:
    """What a path holds: labels as they are written, and one of the three: vectors (N, d) or images (N, C, H, W) as an
    array, names of image files, or a table whose columns still have to become numbers."""

    labels: list[str]
    array: np.ndarray | None = None
    files: list[str] | None = None
    table: Table | None = None

    @property
    def kind(self) -> str:
        """Which of the three, in a word."""
        return "arrays" if self.array is not None else "image files" if self.files is not None else "a table"


def own_options(values: dict[str, Any]) -> Options:
    """Options from their names; an `InputError` for a name that there is not, or a value that cannot be."""
    names = [field.name for field in fields(Options)]
    for name in values:
        choose("data option", name, names)
    if isinstance(test := values.get("test"), str) and is_number(test):
        values = values | {"test": float(test)}
    options = Options(**values)
    check_fields(options)
    if options.text_column is not None and options.image_column is not None:
        raise InputError("text_column or image_column: samples are texts or images, not both")
    if not isinstance(options.test, str | None):
        SPLITS.check("a share as test set", options.test)
    return options


def holds_files(path: str, options: Options) -> bool:
    """Whether a path holds image files, which are decoded at a size that can be chosen."""
    return _existing(path).is_dir() or options.image_column is not None


def holds_vectors(path: str, options: Options) -> bool:
    """Whether a path holds vectors, not images, as far as can be told without reading what it holds."""
    if holds_files(path, options):
        return False
    file = _existing(path)
    return not file.name.lower().endswith(ARRAY_SUFFIXES) or dimensions(file) == 2


def read_own(path: str, options: Options, root: Path) -> dict[str, Any]:
    """The fields of a `Dataset` from a path; image files are decoded once, into a memory map under `root`.

    Raises
    ------
    InputError : a path that does not exist or holds no data of a known form, no label column, a single class, a label
        that occurs once, a test set with other classes, a broken image, a name that is not UTF-8, arrays of anything
        but numbers, numbers that float32 does not hold: one line that names it.
    """
    train = _samples(_existing(path), options)
    if options.image_size is not None and train.files is None:
        raise InputError(f"image_size is for images that lie in files, and {path} holds {train.kind}")
    names = _class_names(train.labels, path)
    number = {name: k for k, name in enumerate(names)}
    labels = torch.tensor([number[label] for label in train.labels])
    test = _samples(_existing(options.test.removeprefix(PREFIX)), options) if isinstance(options.test, str) else None
    if path.lower().endswith(".npz") and (found := read_test_arrays(_existing(path))):
        if options.test is not None:
            raise InputError(f"{path} brings a test set, test_inputs; leave out the other one, {options.test}")
        test = Samples(*found)
    if test and test.kind != train.kind:
        raise InputError(f"{path} holds {train.kind}, and its test set {options.test} {test.kind}; they must be alike")
    if test and (unknown := sorted(set(test.labels) - set(names))):
        raise InputError(f"the test set has labels that {path} has not: {', '.join(unknown[:5])}")
    test_labels = torch.tensor([number[label] for label in test.labels] if test else [], dtype=torch.int64)
    train_inputs, test_inputs, statistics = _inputs(train, labels, test, test_labels, names, path, options, root)
    parts = {"train_images": train_inputs, "train_labels": labels, "test_images": test_inputs}
    parts |= {"test_labels": test_labels, "class_names": names, "statistics": statistics}
    if train.files is not None:
        folder = user_path(path) if user_path(path).is_dir() else user_path(path).parent
        parts["files"] = tuple(os.path.relpath(file, folder) for file in train.files)
    return parts if test or options.test is None else _split_off(parts, float(options.test))


def read_features(name: str, class_names: tuple[str, ...], root: Path) -> dict[str, Any]:
    """The fields of a `Dataset` of features, from the file under `root` that `nlcore features` made and that goes by
    its name.

    Raises
    ------
    InputError : no such file; the message says how to make it. A file with other labels.
    """
    path = root / f"{name}.npz"
    if not path.exists():
        raise InputError(f"{path} is not there; make it once, with: nlcore features {pictured(name)} --out {path}")
    found = read_own(str(path), Options(), root)
    if found["class_names"] != class_names:
        raise InputError(f"{path} holds no features of {pictured(name)}: its labels are others")
    return found


def _existing(path: str) -> Path:
    if not path:
        raise InputError(f"own data are named {PREFIX}FOLDER, {PREFIX}TABLE or {PREFIX}FILE, and there is no name")
    file = user_path(path)
    check_name(str(file))
    if not file.exists():
        raise InputError(f"there is no folder or file {file}")
    return file


def _samples(path: Path, options: Options) -> Samples:
    """What lies at a path."""
    for name in ("label_column", "text_column", "image_column"):
        fitting = (*TABLE_SUFFIXES, *(ARRAY_SUFFIXES if name == "label_column" else ()))
        if getattr(options, name) is not None and not path.name.lower().endswith(fitting):
            raise InputError(f"{name} is for {', '.join(fitting)}, not for {path}")
    if path.is_dir():
        files = _class_folders(path)
        return Samples([label for _, label in files], files=[file for file, _ in files])
    name = path.name.lower()
    if name.endswith(TABLE_SUFFIXES):
        table = read_table(path, options.label_column, options.text_column, options.image_column)
        if options.image_column is None:
            return Samples(table.labels, table=table)
        files = table.column(options.image_column)
        if "" in files:
            raise InputError(f"{path}: row {files.index('')} has no name of a file in column {options.image_column}")
        return Samples(table.labels, files=[str(path.parent / file) for file in files])
    if name.endswith(ARRAY_SUFFIXES):
        return Samples(*read_arrays(path, options.label_column))
    raise InputError(f"{path} is neither a folder nor one of: {', '.join((*TABLE_SUFFIXES, *ARRAY_SUFFIXES))}")


def _class_folders(path: Path) -> list[tuple[str, str]]:
    """Image files with their class, which is the name of their folder; hidden files and folders do not count."""
    classes = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not classes:
        raise InputError(f"{path} has no folders: images lie in one folder a class")
    if len(classes) > 1 and {folder.name.lower() for folder in classes} <= PARTS:
        names = ", ".join(folder.name for folder in classes)
        raise InputError(
            f"{path} holds {names}: parts of a data set, not classes; name one, and another as its test set"
        )
    found = []
    for folder in classes:
        check_name(str(folder))
        files = image_files(folder)
        if not files:
            raise InputError(f"no image in {folder}; images are {', '.join(OWN_IMAGES)}")
        found += [(str(file), folder.name) for file in files]
    return found


def image_files(folder: Path) -> list[Path]:
    """All image files in a folder and the folders in it, in order; what is hidden does not count.

    Raises
    ------
    InputError : a name that is not UTF-8.
    """
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in OWN_IMAGES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )
    for file in files:
        check_name(str(file))
    return files


def _class_names(labels: list[str], path: str) -> tuple[str, ...]:
    """The labels that occur, numbers by their size, words by the alphabet."""
    counts = Counter(labels)
    if "" in counts:
        raise InputError(f"{path}: sample {labels.index('')} has no label")
    for name in counts:
        check_name(name, f"{path}: label ")
    names = sorted(counts, key=lambda name: (0, float(name), name) if is_number(name) else (1, 0.0, name))
    if len(names) < 2:
        raise InputError(f"{path} has {len(names)} class{'es' * (len(names) != 1)}; two are needed")
    once = [name for name in names if counts[name] == 1]
    if len(once) > max(5, len(labels) / 4):
        many = f"{path}: {len(once)} of {len(labels)} labels occur once, {once[0]!r} for example"
        raise InputError(f"{many}: are these classes? label_column names another column")
    if once:
        raise InputError(f"{path}: label {once[0]!r} occurs once; correct it, or leave that sample out")
    return tuple(names)


def is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def _inputs(train, labels, test, test_labels, names, path, options: Options, root: Path):
    """Inputs of both sets as tensors, and statistics where they are known already."""
    if train.files is not None:
        size = options.image_size or IMAGE_SIZE
        listing = Listing(
            list(zip(train.files, labels.tolist(), strict=True)),
            list(zip(test.files, test_labels.tolist(), strict=True)) if test else [],
            names,
        )
        kept = decoded(listing, root / "own" / f"{Path(path).name}_{_digest(listing)}_{size}px", size)
        return kept.train_images, kept.test_images, kept.statistics
    if train.table is not None:
        vectors, test_vectors = train.table.vectors(test.table if test else None)
        return torch.from_numpy(vectors), torch.from_numpy(test_vectors), None
    inputs = input_tensor(train.array, path, spread=True)
    if len(inputs) != len(labels):
        raise InputError(f"{path} holds {len(inputs)} samples and {len(labels)} labels")
    if test is None:
        return inputs, inputs[:0], None
    place = options.test.removeprefix(PREFIX) if isinstance(options.test, str) else f"{path}, test_inputs"
    return inputs, input_tensor(test.array, place, spread=False), None


def _digest(listing: Listing) -> str:
    """Changes with any file's name, size or time, and with its label."""
    digest = hashlib.sha256()
    for file, label in (*listing.train, *listing.test):
        status = Path(file).stat() if Path(file).is_file() else None
        digest.update(f"{file}\0{label}\0{status and (status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:8]


def _split_off(found: dict[str, Any], share: float) -> dict[str, Any]:
    """The same with a share of every class as the test set: at least one sample, and at least one stays."""
    labels = found["train_labels"]
    generator = torch.Generator().manual_seed(0)  # the same split for every seed of a run
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for k in range(len(found["class_names"])):
        rows = (labels == k).nonzero().flatten()
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        chosen[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    inputs = found["train_images"]
    split = {"train_images": inputs[~chosen], "train_labels": labels[~chosen]}
    split |= {"test_images": inputs[chosen], "test_labels": labels[chosen], "statistics": None}
    split |= {"train_index": (~chosen).nonzero().flatten(), "full_size": len(labels)}  # rows of what the user has
    return found | split
