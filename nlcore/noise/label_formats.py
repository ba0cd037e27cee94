"""What a label file holds, whatever its format, read without ever running code from it.

A `.pt` file is a pickle, and so is an `.npy` of Python objects; a pickle may call any function by its name. torch's
`weights_only` loader calls only what it is told to trust, and so does the small unpickler for `.npy`. Even numpy is not
trusted here: its types would take raw bytes of a file for Python objects. Small stand-ins take the places of its array
and its dtype, and accept nothing but numbers.
"""

import csv
import gzip
import hashlib
import io
import json
import pickle
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nlcore.basics.errors import InputError, first_line
from nlcore.basics.files import user_path


@dataclass(frozen=True)
class Contents:
    """The arrays of one file.

    Attributes
    ----------
    path : of the file.
    arrays : by the name of the entry or column, which is empty for a bare array; in a table without a header it is
        the number of the column, from 0. Cells of a table that are no integers stay text.
    digest : first 12 hex digits of the file's SHA-256.
    header : lines of a table before its first row; None if the file is no table.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    digest: str
    header: int | None = None

    def place(self, name: str, row: int) -> str:
        """Where a value stands, in words for a message."""
        if self.header is not None:
            return f"{self.path}: line {row + self.header + 1}"
        return f"{self.path}{f', entry {name!r}' if name else ''}: index {row}"


def read_contents(path: str | Path, class_names: tuple[str, ...] = ()) -> Contents:
    """Read every array of a file; `.gz` behind the suffix is unpacked.

    Parameters
    ----------
    path : `.pt`, `.pth`, `.csv`, `.npy`, `.npz`, `.tsv`, `.txt` (one label a line) or `.json` (a list, or lists by
        name).
    class_names : a table whose first line holds one of them has no header.

    Raises
    ------
    InputError : a file that is missing, empty, damaged, of another format, or that would call a function.
    """
    path = user_path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in ARRAYS | TABLES:
        raise InputError(f"{path} is no label file: the formats are {', '.join(ARRAYS | TABLES)}, and .gz of them")
    if not content:
        raise InputError(f"{path} is empty")
    digest = hashlib.sha256(content).hexdigest()[:12]
    # Damage shows itself in as many ways as there are formats: one line for all.
    try:
        content = gzip.decompress(content) if path.suffix.lower() == ".gz" else content
        if suffix in TABLES:
            header, arrays = TABLES[suffix](content, class_names)
            return Contents(path, arrays, digest, header)
        return Contents(path, ARRAYS[suffix](content), digest)
    except pickle.UnpicklingError as error:
        called = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({called[1]})" if called else ", or is damaged,"
        raise InputError(f"{path} holds more than labels{what} and was not opened") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8; save it as UTF-8") from error
    except Exception as error:
        raise InputError(f"{path}: damaged or no label file, {type(error).__name__}: {first_line(error)}") from error


# Pickles.


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
        _version, shape, dtype, fortran, data = state
        self.values = np.frombuffer(data, dtype.name).reshape(shape, order="F" if fortran else "C")


class _Objects(_Array):
    """The same for an array of Python objects, which numpy pickles as their list: each is as safe as its own parts."""

    def __setstate__(self, state: tuple):
        if isinstance(state[4], list):
            self.values = state[4]
        else:
            super().__setstate__(state)


def _stand_ins(array: type[_Array]) -> dict[str, type]:
    # `_reconstruct` makes the array, and moved when numpy became 2.
    names = ("numpy.ndarray", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
    return {"numpy.dtype": _Dtype} | dict.fromkeys(names, array)


class _Unpickler(pickle.Unpickler):
    """Knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> type:
        called = f"{module}.{name}"
        if called not in (known := _stand_ins(_Objects)):
            raise pickle.UnpicklingError(f"GLOBAL {called}")
        return known[called]


@contextmanager
def _only_stand_ins():
    # What the rest of the program trusts is set aside: it may name the real numpy, or worse.
    trusted = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with torch.serialization.safe_globals([(kind, name) for name, kind in _stand_ins(_Array).items()]):
            yield
    finally:
        torch.serialization.add_safe_globals(trusted)


def _read_pt(content: bytes) -> dict[str, np.ndarray]:
    with _only_stand_ins():
        return _entries(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def _entries(held) -> dict[str, np.ndarray]:
    """The arrays of a dictionary, or one without a name."""
    entries = held if isinstance(held, dict) else {"": held}
    return {str(name): _as_array(value) for name, value in entries.items()}


def _as_array(value) -> np.ndarray:
    if isinstance(value, _Array):
        return np.asarray(value.values)
    if isinstance(value, torch.Tensor):
        # numpy has no bfloat16.
        return value.detach().double().numpy() if value.is_floating_point() else value.numpy()
    return np.asarray(value) if isinstance(value, list) else np.empty(0, object)


def _read_npy(content: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers or not headers[version](file)[2].hasobject:
        return {"": np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)}
    objects = _Unpickler(file).load().values  # CIFAR-N's `.npy` files hold one dictionary
    return _entries(objects[0] if len(objects) == 1 else objects)


def _read_npz(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        own = [name for name in ("given_labels", "true_labels", "index") if name in archive.files]
        return {name: archive[name] for name in (own if "given_labels" in own else archive.files)}


# Texts.


def _read_json(content: bytes) -> dict[str, np.ndarray]:
    return _entries(json.loads(content))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+\.?\d*(e[+-]?\d+)?\s*", text, re.IGNORECASE) is not None


def _read_table(content: bytes, class_names: tuple[str, ...], sep: str) -> tuple[int, dict[str, np.ndarray]]:
    text = content.decode("utf-8-sig").strip(" \r\n")

    def read(**options) -> pd.DataFrame:
        form = {"sep": sep, "skip_blank_lines": False, "skipinitialspace": True}
        return pd.read_csv(io.StringIO(text), **form, **options)

    # Without a header, pandas refuses a second line that is longer than the first; with one, it would shift columns.
    first = read(header=None, nrows=2, dtype=str, keep_default_na=False).iloc[0]
    words = [cell for cell in first if not _is_number(cell)]
    header = 0 if words and not set(words) & set(class_names) else None
    table = read(header=header, low_memory=False)
    numbers = [column.dtype.kind in "iu" for _, column in table.items()]
    texts = table if all(numbers) else read(header=header, dtype=str, keep_default_na=False)
    names = [""] if header is None and table.shape[1] == 1 else map(str, table)
    columns = ((table if number else texts).iloc[:, i].to_numpy() for i, number in enumerate(numbers))
    return int(header is not None), dict(zip(names, columns, strict=True))


def _read_lines(content: bytes, class_names: tuple[str, ...]) -> tuple[int, dict[str, np.ndarray]]:
    """One label a line: as a table whose one column may hold any sign."""
    quoted = io.StringIO()
    lines = content.decode("utf-8-sig").strip().splitlines()
    csv.writer(quoted).writerows([line.strip()] for line in lines)
    return _read_table(quoted.getvalue().encode(), class_names, ",")


def _read_csv(content: bytes, class_names: tuple[str, ...]) -> tuple[int, dict[str, np.ndarray]]:
    return _read_table(content, class_names, ",")


def _read_tsv(content: bytes, class_names: tuple[str, ...]) -> tuple[int, dict[str, np.ndarray]]:
    return _read_table(content, class_names, "\t")


ARRAYS = {".pt": _read_pt, ".pth": _read_pt, ".npy": _read_npy, ".npz": _read_npz, ".json": _read_json}
TABLES = {".csv": _read_csv, ".tsv": _read_tsv, ".txt": _read_lines}
