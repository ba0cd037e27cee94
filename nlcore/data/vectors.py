"""Data that come as vectors: embeddings, rows of a table, text reduced to numbers.

A vector is a row of floats, half or single precision, and stays one: a million rows of 512 halves in a memory map are
read where they lie. What can go wrong in a column is found before anything is trained on it, and named.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch

from nlcore.basics.errors import InputError

log = logging.getLogger(__name__)

ROWS_AT_ONCE = (
    2_000  # rows that are looked at at once: more than fit into the cache of a processor take three times as long
)
VALUES_AT_ONCE = 1_000_000  # the same for arrays of any width, a single column among them
NAMED = 5  # columns that a message names
LARGEST = float(np.finfo(np.float32).max)
LEAST_SPREAD = 1e-5  # a column's deviation, as a share of its mean: below, it is a hundred steps of float32 or less


def check_vectors(vectors: torch.Tensor, what: str) -> None:
    """Raise an `InputError` unless `vectors` is an (N, d) tensor of floats, finite as float32 too; the message names
    bad columns."""
    if vectors.ndim != 2 or vectors.shape[1] == 0 or not vectors.is_floating_point():
        kind = f"{vectors.dtype} {tuple(vectors.shape)}"
        raise InputError(f"{what} vectors must be floats of shape (N, d), not {kind}")
    _refuse_where(lambda rows: ~rows.isfinite(), vectors, f"{what} vectors hold NaN or infinity")
    if vectors.dtype == torch.float64:  # which becomes float32
        _refuse_where(lambda rows: rows.abs() > LARGEST, vectors, f"{what} vectors hold numbers too large for float32")


def _refuse_where(broken: Callable[[torch.Tensor], torch.Tensor], vectors: torch.Tensor, words: str) -> None:
    """Raise an `InputError` that names the columns of (N, d) where `broken` marks a value, and the first such row."""
    bad = torch.zeros(vectors.shape[1], dtype=torch.bool)
    first = None
    for number, rows in enumerate(vectors.split(ROWS_AT_ONCE)):
        found = broken(rows)
        bad |= found.any(0)
        if first is None and bool(found.any()):
            first = number * ROWS_AT_ONCE + int(found.any(1).nonzero()[0])
    if first is not None:
        raise InputError(f"{words} in {_named(bad)}, first in row {first}")


def check_float32(numbers: np.ndarray, file: str, names: Sequence[str] | None = None, spread: bool = True) -> None:
    """Look, block by block, whether numbers (N, d) may become float32. NaN and infinity are left to `check_vectors`.

    Parameters
    ----------
    names : of the d columns; None = their numbers.
    spread : whether a column has to keep its spread; that of a test set tells nothing.

    Raises
    ------
    InputError : a number that is too large for float32, a column whose values differ by too little for it.
    """
    if np.can_cast(numbers.dtype, np.float32) or numbers.size == 0:  # nothing is lost
        return
    n, d = numbers.shape
    names = range(d) if names is None else names
    # Counted from the first row, the squares of a large mean do not swallow those of a small spread.
    first, total, squares = numbers[0].astype(np.float64), np.zeros(d), np.zeros(d)
    low = high = numbers[0]
    step = max(1, VALUES_AT_ONCE // d)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, n, step):
            rows = numbers[start : start + step]
            low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
            apart = np.subtract(rows, first, dtype=np.float64)
            total += apart.sum(0)
            squares += np.square(apart, out=apart).sum(0)
        constant, low, high = low == high, low.astype(np.float64), high.astype(np.float64)
        mean = first + total / n
        std = np.sqrt(np.maximum(squares / n - np.square(total / n), 0))
        large = np.maximum(-low, high) > LARGEST
        # A few rows that lie apart, the year 2021 among many 2020, make a small deviation, and are not lost.
        near = np.maximum(std, (high - low) / 10) < LEAST_SPREAD * np.abs(mean)
    if large.any():
        column = int(large.argmax())
        row = int((np.abs(numbers[:, column]) > LARGEST).argmax())
        if np.isfinite(value := float(numbers[row, column])):
            where = f"row {row}, column {names[column]}"
            raise InputError(f"{file}: {where}: {value:g} is too large for float32; scale the column down")
    elif spread and (lost := near & ~constant).any():
        k = int(lost.argmax())
        sizes = f"mean {mean[k]:.6g} and standard deviation {std[k]:.2g}"
        raise InputError(
            f"{file}: column {names[k]} has {sizes}, a spread that is lost in float32; subtract the column's mean first"
        )


def vector_statistics(vectors: torch.Tensor, what: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of every column of (N, d): two (d,) float32.

    A column that is the same everywhere tells nothing: it is named in a warning, and its deviation is given as 1, so
    that it becomes 0 when it is standardised.
    """
    n = len(vectors)
    mean = sum(rows.double().sum(0) for rows in vectors.split(ROWS_AT_ONCE)) / n
    variance = sum((rows.double() - mean).square().sum(0) for rows in vectors.split(ROWS_AT_ONCE)) / n
    std = variance.sqrt()
    constant = std <= 1e-9 * mean.abs().clamp(min=1e-30)
    if bool(constant.any()):
        log.warning("%s vectors: %s the same in every row", what, _named(constant, verb=True))
    return mean.float(), torch.where(constant, torch.ones_like(std), std).float()


def _named(columns: torch.Tensor, verb: bool = False) -> str:
    """`column 3`, `columns 1, 4 and 7` or `columns 0, 1, 2, 3, 4 and 17 more`, of those marked in (d,) bool."""
    numbers = [str(number) for number in columns.nonzero().flatten().tolist()]
    shown = numbers if len(numbers) <= NAMED else [*numbers[:NAMED], f"{len(numbers) - NAMED} more"]
    words = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"column{'s' * (len(numbers) > 1)} {words}" + (f" {'are' if len(numbers) > 1 else 'is'}" if verb else "")
