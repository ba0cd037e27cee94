"""Label files that others hand out: `.pt`, `.csv`, `.npy` and `.npz`, read without ever running code from them.

A `.pt` file is a pickle, and a pickle may call any function by its name. torch's `weights_only` loader calls only what
it is told to trust. Even numpy is not trusted here: its types would take raw bytes of a file for Python objects. Two
small stand-ins take the places of its array and its dtype, and accept nothing but numbers.
"""

import hashlib
import io
import pickle
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nlcore.basics.errors import InputError, first_line
from nlcore.data.datasets import data_root

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

# What files call their labels, the most telling name first.
GIVEN_COLUMNS = ("given_label", "label_noisy", "noisy_label", "given", "noisy")
TRUE_NAMES = ("true_labels", "true_label", "clean_label_train", "clean_label", "true", "clean", "label")
COARSE_GIVEN, COARSE_TRUE = "noisy_coarse_label", "clean_coarse_label"
INDEX = "index"


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
    """

    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    index: torch.Tensor | None
    key: str
    digest: str


def read_label_file(path: str | Path, key: str | None = None) -> LabelFile:
    """Read given labels, and true labels and row numbers where there are any.

    Parameters
    ----------
    path : a `.pt`, `.pth`, `.csv`, `.npy` or `.npz` file.
    key : the entry or column of the given labels; needed only where a file holds several.

    Raises
    ------
    InputError : a file that is missing, damaged, of another format or holds more than labels; labels that are no
        (M,) integers or differ in number; an unknown key, or several entries and no key.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    entries = _read_entries(path, content)
    key = _given_name(path, entries, key)
    true_names = (COARSE_TRUE,) if key == COARSE_GIVEN else TRUE_NAMES
    return LabelFile(
        given_labels=_labels(path, entries, key),
        true_labels=_beside(path, entries, key, true_names),
        index=_beside(path, entries, key, (INDEX,)),
        key=key,
        digest=hashlib.sha256(content).hexdigest()[:12],
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
    here = Path(name).expanduser()
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


def _read_entries(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """Every array of the file by its name, which is empty for a bare array."""
    readers = {".pt": _read_pt, ".pth": _read_pt, ".csv": _read_csv, ".npy": _read_npy, ".npz": _read_npz}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is no label file: the formats are {', '.join(readers)}")
    if not content:
        raise InputError(f"{path} is empty")
    # Damage shows itself in as many ways as there are formats: one line for all.
    try:
        return reader(content)
    except pickle.UnpicklingError as error:
        called = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({called[1]})" if called else ", or is damaged,"
        raise InputError(f"{path} holds more than labels{what} and was not opened") from error
    except Exception as error:
        damage = "" if isinstance(error, InputError) else f"damaged or no label file, {type(error).__name__}: "
        raise InputError(f"{path}: {damage}{first_line(error)}") from error


def _given_name(path: Path, entries: dict[str, np.ndarray], key: str | None) -> str:
    if key is None and len(entries) == 1:
        return next(iter(entries))
    held = [name for name, array in entries.items() if _are_labels(array)]
    if not held:
        raise InputError(f"{path} holds no labels, which are integers of shape (M,)")
    if key in held:
        return key
    if key is not None:
        raise InputError(f"{path} holds no labels {key!r}; it has: {_names(held)}")
    candidates = [name for name in held if name not in (*TRUE_NAMES, COARSE_TRUE, INDEX)]
    if path.suffix.lower() == ".csv":
        candidates = [name for name in candidates if name in GIVEN_COLUMNS] or candidates
    if len(candidates) != 1:
        how_many = "several label arrays" if candidates else "no array that is plainly the given labels"
        raise InputError(f"{path} holds {how_many}; choose with the option key: {_names(candidates or held)}")
    return candidates[0]


def _names(names: list[str]) -> str:
    # Quoted, since a file may put anything into its names, line breaks included.
    return ", ".join(repr(name) if name else "one array without a name (leave key out)" for name in names)


def _are_labels(array: np.ndarray) -> bool:
    return array.ndim == 1 and array.dtype.kind in "iu" and array.size > 0


def _labels(path: Path, entries: dict[str, np.ndarray], name: str) -> torch.Tensor:
    array = entries[name]
    if not _are_labels(array):
        what = f"{path}, entry {name!r}" if name else str(path)
        raise InputError(f"{what}: labels must be integers of shape (M,), not {array.dtype} of shape {array.shape}")
    return torch.from_numpy(array.astype(np.int64))


def _beside(path: Path, entries: dict[str, np.ndarray], key: str, names: tuple[str, ...]) -> torch.Tensor | None:
    """The first of `names` that the file holds, one for every given label; None if it holds none of them."""
    name = next((name for name in names if name in entries and name != key), None)
    if name is None:
        return None
    labels = _labels(path, entries, name)
    if len(labels) != len(entries[key]):
        raise InputError(f"{path} holds {len(entries[key])} given labels but {len(labels)} of {name!r}")
    return labels


class _Dtype:
    """Stands in for `numpy.dtype` in a pickle, where `<i8` is built of `i8` and a state that holds `<`."""

    def __init__(self, code: str, *_):
        self.name = code

    def __setstate__(self, state: tuple):
        self.name = f"{state[1]}{self.name}"


class _Array:
    """Stands in for `numpy.ndarray` in a pickle; its bytes become numbers, never Python objects."""

    def __init__(self, *_):
        self.values = np.empty(0)

    def __setstate__(self, state: tuple):
        _version, shape, dtype, _fortran, data = state
        self.values = np.frombuffer(data, dtype.name).reshape(shape)


# `_reconstruct` makes the array, and moved when numpy became 2.
_STAND_INS = [
    (_Array, "numpy.ndarray"),
    (_Dtype, "numpy.dtype"),
    (_Array, "numpy.core.multiarray._reconstruct"),
    (_Array, "numpy._core.multiarray._reconstruct"),
]


@contextmanager
def _only_stand_ins():
    # What the rest of the program trusts is set aside: it may name the real numpy, or worse.
    trusted = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            yield
    finally:
        torch.serialization.add_safe_globals(trusted)


def _read_pt(content: bytes) -> dict[str, np.ndarray]:
    with _only_stand_ins():
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    entries = held if isinstance(held, dict) else {"": held}
    return {str(name): _as_array(value) for name, value in entries.items()}


def _as_array(value) -> np.ndarray:
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, torch.Tensor):
        # numpy has no bfloat16; a float tensor holds no labels, whatever its width.
        return value.detach().double().numpy() if value.is_floating_point() else value.numpy()
    return np.asarray(value) if isinstance(value, list) else np.empty(0, object)


def _read_csv(content: bytes) -> dict[str, np.ndarray]:
    text = content.decode("utf-8-sig").strip()

    def read(**options) -> pd.DataFrame:
        return pd.read_csv(io.StringIO(text), skip_blank_lines=False, skipinitialspace=True, **options)

    # Without a header, pandas refuses a second line that is longer than the first; with one, it would shift columns.
    first = read(header=None, nrows=2, dtype=str, keep_default_na=False).iloc[0]
    header = None if first.str.fullmatch(r"[+-]?[\d.]+").all() else 0
    table = read(header=header, low_memory=False)
    entries = {}
    for name, column in table.items():
        if name in TRUE_NAMES and column.isna().all():
            continue
        wanted = name in (*GIVEN_COLUMNS, *TRUE_NAMES, INDEX) or table.shape[1] == 1
        if wanted and len(column) and column.dtype.kind not in "iu":
            texts = read(header=header, dtype=str, keep_default_na=False)[name]
            row = int((~texts.str.fullmatch(r"[+-]?\d+")).to_numpy().argmax())
            line = row + (1 if header is None else 2)
            raise InputError(f"line {line} holds {texts[row]!r} where an integer is needed")
        entries["" if header is None and table.shape[1] == 1 else str(name)] = column.to_numpy()
    return entries


def _read_npy(content: bytes) -> dict[str, np.ndarray]:
    return {"": np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)}


def _read_npz(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        own = [name for name in ("given_labels", "true_labels") if name in archive.files]
        return {name: archive[name] for name in (own if "given_labels" in own else archive.files)}
