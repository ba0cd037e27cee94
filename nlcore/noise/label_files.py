"""Label files that others hand out: which of the arrays of a file are the given labels, the true ones and the rows."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nlcore.basics.errors import InputError
from nlcore.basics.files import user_path
from nlcore.data.datasets import data_root
from nlcore.data.names import (
    COARSE_GIVEN,
    COARSE_TRUE,
    GIVEN_NAMES,
    INDEX_NAMES,
    LABEL_NAMES,
    TRUE_NAMES,
    first_named,
    plain,
)
from nlcore.noise.label_formats import Contents, read_contents

# CIFAR-N (Wei et al., 2022): labels that people gave to CIFAR.
HUMAN_FILES = {
    "cifar10": "CIFAR-10_human.pt",
    "cifar100": "CIFAR-100_human.pt",
    "cifar100_coarse": "CIFAR-100_human.pt",
}
HUMAN_LABELS = {
    "cifar10": {
        "aggre": "aggre_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "worst": "worse_label",
    },
    "cifar100": {"fine": "noisy_label"},
    "cifar100_coarse": {"coarse": "noisy_coarse_label"},
}

NO_INDEX = "none"


@dataclass(frozen=True)
class LabelFile:
    """The labels that one file holds.

    Attributes
    ----------
    given_labels : (M,) int64, not yet checked against the classes of a dataset.
    true_labels : (M,) int64, or None where the file has none.
    index : (M,) int64 rows of the training set, or None where the file does not name them.
    key : the entry or column taken as given labels; empty for an array without a name.
    digest : first 12 hex digits of the file's SHA-256.
    index_key : the entry or column taken as rows; empty where there is none.
    """

    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    index: torch.Tensor | None
    key: str
    digest: str
    index_key: str = ""


def read_label_file(
    path: str | Path,
    key: str | int | None = None,
    index: str | int | None = None,
    class_names: tuple[str, ...] = (),
) -> LabelFile:
    """Read given labels, and true labels and row numbers where there are any.

    Labels are class numbers, as integers or whole floats, or the names of classes.

    Parameters
    ----------
    path : a file of one of the formats of `nlcore.noise.label_formats`.
    key : the entry or column of the given labels, or the number of a column, from 0, in a table without a header;
        needed only where a file holds several. Without it, `given_label`, `noisy_label` and the like are taken before
        `label`.
    index : the entry or column of the rows of the training set; None = `index`, `idx`, `id` or a first column without a
        name, if there is one; `none` = the labels are in the order of the training set.
    class_names : K names that labels may be given by.

    Raises
    ------
    InputError : a file that is missing, damaged, of another format or holds more than labels; labels that are no
        (M,) integers or names, or differ in number; an unknown key, or several entries and no key.
    """
    contents = read_contents(path, class_names)
    key = _given_name(contents, None if key is None else str(key), class_names)
    given = torch.from_numpy(class_numbers(contents, key, class_names))
    true_names = (COARSE_TRUE,) if key == COARSE_GIVEN else TRUE_NAMES + LABEL_NAMES
    true, _ = beside(
        contents, key, first_named(true_names, [name for name in contents.arrays if name != key]), class_names
    )
    rows, index_key = beside(contents, key, index_name(contents, index, key), ())
    return LabelFile(
        given_labels=given,
        true_labels=true,
        index=rows,
        key=key,
        digest=contents.digest,
        index_key=index_key,
    )


def find_label_file(name: str, root: str | Path | None = None) -> Path:
    """Path of a label file: `name` itself if it exists, else the first match in the data folder.

    Parameters
    ----------
    name : a path, or a bare file name such as `CIFAR-10_human.pt`.
    root : the data folder; default `$NLCORE_DATA`, else `~/.cache/nlcore`.

    Raises
    ------
    InputError : no such file; the message says where it was looked for.
    """
    here = user_path(name)
    root = data_root(root)
    folders = ["", "labels"]
    if here.name == name:
        folders += ["cifar-n", "cal-idn", "labels/cifar-n", "labels/cal-idn"]
    # dict.fromkeys: an absolute path is the same under every folder, and is named once.
    places = list(dict.fromkeys([here, *(root / folder / here for folder in folders)]))
    for place in places:
        if place.exists():
            return place
    hint = ""
    if here.name in HUMAN_FILES.values():
        hint = "; its authors distribute it in UCSC-REAL/cifar-10-100n on GitHub (folder data, CC BY-NC 4.0)"
    raise InputError(f"label file {name} was not found; looked for {', '.join(map(str, places))}{hint}")


def class_numbers(
    contents: Contents, name: str, class_names: tuple[str, ...], missing: int | None = None
) -> np.ndarray:
    """Class numbers (M,) int64 of the integers, whole floats or names that an entry holds.

    `missing`, if there is one, stands for an empty cell, NaN and None.

    Raises
    ------
    InputError : an entry of another shape or kind; it names the first value that is no label.
    """
    array = contents.arrays[name]
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iufOSU":
        what = f"{contents.path}, entry {name!r}" if name else str(contents.path)
        raise InputError(f"{what}: labels must be integers of shape (M,), not {array.dtype} of shape {array.shape}")
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    codes, values = pd.factorize(array, use_na_sentinel=False)
    numbers = [_number(value, class_names, missing) for value in values]
    if None in numbers:
        bad = numbers.index(None)
        place, text = contents.place(name, int((codes == bad).argmax())), _text(values[bad])
        words = [name for name in class_names if not name.isdigit()]
        near = difflib.get_close_matches(text, words, 3, 0.0)
        names = f" or a class name is needed; the nearest: {', '.join(near)}" if near else " is needed"
        raise InputError(f"{place} holds {text!r} where an integer{names}")
    return np.array(numbers, np.int64)[codes]


def _text(value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value).strip()


def _number(value, class_names: tuple[str, ...], missing: int | None) -> int | None:
    """The class number that a value stands for; None if it is no label."""
    text = _text(value)
    if text.lower() in ("", "nan"):
        return missing
    if isinstance(value, bool):
        return None
    if re.fullmatch(r"[+-]?\d+\.?\d*(e[+-]?\d+)?", text, re.IGNORECASE):
        number = int(text) if text.lstrip("+-").isdigit() else float(text)
        if number == number // 1 and abs(number) < 2**53:
            return int(number)
    return class_names.index(text) if text in class_names else None


def _are_labels(array: np.ndarray, class_names: tuple[str, ...]) -> bool:
    if array.ndim != 1 or not array.size:
        return False
    if array.dtype.kind not in "OSU":
        return array.dtype.kind in "iu"
    return all(_number(value, class_names, None) is not None for value in pd.unique(array))


def _given_name(contents: Contents, key: str | None, class_names: tuple[str, ...]) -> str:
    path, arrays = contents.path, contents.arrays
    if key in arrays:
        return key
    if key is None and len(arrays) == 1:
        return next(iter(arrays))
    held = [name for name, array in arrays.items() if _are_labels(array, class_names)]
    if not held:
        raise InputError(f"{path} holds no labels, which are integers of shape (M,)")
    if key is not None:
        raise InputError(f"{path} holds no labels {key!r}; it has: {_names(held)}")
    for known in (GIVEN_NAMES, LABEL_NAMES):
        if candidates := [name for name in arrays if plain(name) in known]:
            break
    else:
        candidates = [name for name in held if plain(name) not in (*TRUE_NAMES, COARSE_TRUE, *INDEX_NAMES)]
    if len(candidates) != 1:
        how_many = "several label arrays" if candidates else "no array that is plainly the given labels"
        raise InputError(f"{path} holds {how_many}; choose with the option key: {_names(candidates or held)}")
    return candidates[0]


def _names(names: list[str]) -> str:
    # Quoted, since a file may put anything into its names, line breaks included.
    return ", ".join(repr(name) if name else "one array without a name (leave key out)" for name in names)


def index_name(contents: Contents, index: str | int | None, key: str) -> str | None:
    """The entry of the rows beside the labels `key`, by the option `index`; None if there is none."""
    if index is None:
        return first_named(INDEX_NAMES, [name for name in contents.arrays if name != key])
    if str(index).lower() == NO_INDEX:
        return None
    if str(index) not in contents.arrays:
        raise InputError(f"{contents.path} has no rows {str(index)!r}; it has: {_names(list(contents.arrays))}")
    return str(index)


def beside(
    contents: Contents, key: str, name: str | None, class_names: tuple[str, ...]
) -> tuple[torch.Tensor | None, str]:
    """An entry as integers, one for every given label, and its name; None if there is none or it is all empty."""
    array = None if name is None else contents.arrays[name]
    if array is None or (array.dtype == object and array.ndim and not any(array)):
        return None, ""
    numbers = torch.from_numpy(class_numbers(contents, name, class_names))
    if len(numbers) != (given := len(contents.arrays[key])):
        raise InputError(f"{contents.path} holds {given} given labels but {len(numbers)} of {name!r}")
    return numbers, name
