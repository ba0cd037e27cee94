"""Arrays as data: inputs and labels in one .npz file, or inputs in a .npy file with their labels beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlcore.basics.errors import InputError, first_line
from nlcore.data.names import first_named
from nlcore.data.tables import EXACT, LABEL_COLUMNS, read_table
from nlcore.data.vectors import check_float32

ARRAY_SUFFIXES = (".npz", ".npy")
BESIDE = (".npy", ".txt", ".csv")  # of a file of labels beside a .npy file
INPUT_NAMES = ("inputs", "features", "embeddings", "x", "data", "images")

Found = tuple[list[str], np.ndarray]  # labels as text (N,), inputs (N, ...)


def read_arrays(path: Path, label_column: str | None = None) -> Found:
    """Labels and inputs; those of a .npy file are a memory map.

    Parameters
    ----------
    label_column : name of the labels in a .npz file, or in a table beside a .npy file; None = one of the usual names.

    Raises
    ------
    InputError : a damaged file, no inputs or labels by a usual name, labels of more than one dimension, or that are
        not finite, or too large for a float to tell one from the next.
    """
    if path.suffix.lower() == ".npy":
        labels = _labels_beside(path, label_column)
        with _readable(path):
            inputs = np.load(path, mmap_mode="c", allow_pickle=False)
            if not isinstance(inputs, np.ndarray):
                raise InputError(f"{path} holds several arrays; rename it to {path.with_suffix('.npz').name}")
            return labels, inputs
    with _opened(path) as archive:
        inputs, labels = _names(archive, path, label_column)
        return _words(archive[labels], path), archive[inputs]


def read_test_arrays(path: Path) -> Found | None:
    """`test_labels` and `test_inputs` of a .npz file; None if it has no such, an `InputError` if it has one of both."""
    with _opened(path) as archive:
        found = {"test_inputs", "test_labels"} & set(archive.files)
        if not found:
            return None
        if len(found) == 1:
            raise InputError(f"{path} has {found.pop()} alone; a test set is test_inputs and test_labels")
        return _words(archive["test_labels"], path), archive["test_inputs"]


def dimensions(path: Path) -> int:
    """Dimensions of the inputs, by the header of their array alone."""
    if path.suffix.lower() == ".npy":
        with _readable(path), path.open("rb") as file:
            return _dimensions(file)
    with _opened(path) as archive, archive.zip.open(f"{_inputs(archive, path)}.npy") as file:
        return _dimensions(file)


def _dimensions(file) -> int:
    first = np.lib.format.read_magic(file) == (1, 0)
    header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    return len(header(file)[0])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Damage shows itself in many ways: one line for all."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        why = first_line(error)
        if "pickle" in why:  # to numpy, whatever it does not know may be a pickle, and its advice is to load it
            why = "it is damaged, or holds objects; save numbers or text in it"
        raise InputError(f"{path} cannot be read ({why})") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A .npz file, of which an array is read when it is asked for."""
    with _readable(path):
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{path} holds a single array; rename it to {path.with_suffix('.npy').name}")
        with archive:
            yield archive


def _names(archive: Any, path: Path, label_column: str | None) -> tuple[str, str]:
    """What the inputs and the labels of a .npz file are called."""
    labels = first_named(LABEL_COLUMNS, archive.files) if label_column is None else label_column
    if labels not in archive.files:
        wanted = "label or y" if label_column is None else repr(label_column)
        raise InputError(f"{path} needs labels in an array called {wanted}; it has {', '.join(archive.files)}")
    return _inputs(archive, path), labels


def _inputs(archive: Any, path: Path) -> str:
    """What the inputs of a .npz file are called."""
    inputs = first_named(INPUT_NAMES, archive.files)
    if inputs is None:
        raise InputError(f"{path} needs an array called {' or '.join(INPUT_NAMES)}; it has {', '.join(archive.files)}")
    return inputs


def labels_beside(path: Path) -> Path | None:
    """The file with the labels of a .npy file; None if there is none."""
    stem = path.with_name(f"{path.stem}_labels")
    return next((file for suffix in BESIDE if (file := stem.with_suffix(suffix)).is_file()), None)


def _labels_beside(path: Path, label_column: str | None) -> list[str]:
    file = labels_beside(path)
    if file is None:
        stem = path.with_name(f"{path.stem}_labels")
        raise InputError(f"no labels beside {path}: they belong into {stem}.npy, .txt or .csv")
    if file.suffix == ".csv":
        return read_table(file, label_column, None, None).labels
    with _readable(file):
        if file.suffix == ".txt":
            return [line.strip() for line in file.read_text(encoding="utf-8-sig").rstrip().splitlines()]
        return _words(np.load(file, allow_pickle=False), file)


def _words(labels: np.ndarray, path: Path) -> list[str]:
    """Labels as text: whole numbers without a fraction."""
    if labels.ndim != 1:
        raise InputError(f"{path}: labels must have one dimension, not shape {labels.shape}")
    if labels.dtype.kind == "f":
        if np.isnan(labels).any():
            raise InputError(f"{path}: label {int(np.isnan(labels).argmax())} is NaN")
        if (large := np.abs(labels) >= np.float64(EXACT)).any():  # not as a float16, which has no such number
            row = int(large.argmax())
            why = "a float tells labels apart below 2**53 alone; save them as integers or text"
            raise InputError(f"{path}: label {row} is {labels[row]:g}, and {why}")
        labels = labels.astype(np.int64) if (labels == np.round(labels)).all() else labels
    if labels.dtype.kind == "S":  # bytes, as HDF5 has them
        labels = np.char.decode(labels, "utf-8")
    return [str(label).strip() for label in labels.tolist()]


def input_tensor(array: np.ndarray, place: str, spread: bool) -> torch.Tensor:
    """Floats (N, d), or uint8 images whose channels may come last. Whole numbers (N, d) are floats too.

    place : what a message calls the array; spread : whether its columns have to keep their spread.

    Raises
    ------
    InputError : what torch has no numbers for, a single number, numbers (N, d) that float32 does not hold.
    """
    if array.ndim == 0 or array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        kind = f"{array.dtype} of shape {array.shape}"
        raise InputError(f"{place}: inputs must be uint8 images or float32 vectors (N, d), not {kind}; convert them")
    if array.ndim == 2:
        check_float32(array, place, spread=spread)
        if array.dtype.kind != "f" or array.dtype.itemsize == 8:
            with np.errstate(over="ignore"):  # beside a NaN, which is named when the columns are looked at
                array = array.astype(np.float32)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # big-endian, as HDF5 and FITS have it
    if array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim == 3 and array.dtype == np.uint8:
        array = array[:, None]
    return torch.from_numpy(array)
