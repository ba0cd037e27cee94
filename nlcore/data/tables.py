"""Tables as data: a column of labels, and columns of numbers, a text, or names of image files."""

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow.parquet import ParquetFile

from nlcore.basics.errors import InputError, first_line
from nlcore.data.names import GIVEN_NAMES, INDEX_NAMES, LABEL_NAMES, TRUE_NAMES, first_named, plain
from nlcore.data.vectors import check_float32

log = logging.getLogger(__name__)

TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
LABEL_COLUMNS = (*GIVEN_NAMES, *LABEL_NAMES, "class", "y")
NO_FEATURES = (*LABEL_COLUMNS, *TRUE_NAMES, *INDEX_NAMES, "")  # columns that would tell the answer, or number the rows
TEXT_DIMENSIONS = 256  # at most so many numbers are made of a text, and one for every ten rows:
ROWS_A_DIMENSION = 10  # all of them are standardised, and the last ones of a small table are noise
EXACT = 2**53  # below, a float64 holds every whole number; from here on, several become one


@dataclass(frozen=True)
class Table:
    """A table whose label column is known: `labels` as text, `frame` without it, and the name of its text column."""

    path: Path
    labels: list[str]
    frame: pd.DataFrame
    text_column: str | None

    def column(self, name: str) -> list[str]:
        """One column as text; a cell without a value is an empty one."""
        return _as_text(self.frame[_existing(name, self.frame, self.path)]).tolist()

    def vectors(self, test: "Table | None") -> tuple[np.ndarray, np.ndarray]:
        """Vectors (N, d) of this table and (M, d) of a test table, M = 0 without one, float32; what has to be learnt to
        make them, the words of a text, is learnt from this one alone.

        Raises
        ------
        InputError : no column of numbers, one that the test table lacks, a cell that is no finite number, or too large
            for float32, a column whose spread is lost in it, no words.
        """
        if self.text_column is not None:
            return _text_vectors(self.column(self.text_column), test.column(self.text_column) if test else [])
        names, left_out = self._columns()
        if left_out:
            log.warning("%s: not all numbers, so left out: %s", self.path, ", ".join(left_out))
        train = self._floats(names, spread=True)
        return train, test._floats(names, spread=False) if test else train[:0]

    def number_columns(self) -> list[str]:
        """The columns that are the vector."""
        return self._columns()[0]

    def _columns(self) -> tuple[list[str], list[str]]:
        """Those of numbers, and all others from which something could be learnt; an `InputError` without a number."""
        names = [name for name in self.frame if plain(name) not in NO_FEATURES]
        numbers = [name for name in names if pd.api.types.is_numeric_dtype(self.frame[name])]
        others = [name for name in names if name not in numbers]
        if not numbers:
            known = ", ".join(others) or "none"
            raise InputError(f"{self.path} has no column of numbers; name a text column or an image column of: {known}")
        return numbers, others

    def _floats(self, names: list[str], spread: bool) -> np.ndarray:
        floats = np.empty((len(self.frame), len(names)), np.float32)
        for k, name in enumerate(names):
            column = pd.to_numeric(self.frame[_existing(name, self.frame, self.path)], errors="coerce")
            broken = ~np.isfinite(column.to_numpy(np.float64, na_value=np.nan))
            if broken.any():
                raise InputError(f"{self.path}: row {broken.argmax()} has no finite number in column {name}")
            numbers = column.to_numpy()
            check_float32(numbers[:, None], str(self.path), [name], spread)
            floats[:, k] = numbers
        return floats


def read_table(path: Path, label_column: str | None, text_column: str | None, image_column: str | None) -> Table:
    """Read a table and find its label column: the one that is named, else the first of the usual names. Columns that
    are called like labels, or true labels, are never features. Rows are counted from 0, without the header.

    Raises
    ------
    InputError : a file that cannot be read, rows of different lengths, no rows, a column that does not exist, no label
        column, a row without a label.
    """
    names = _column_names(path)
    if label_column is None:
        label_column = first_named(LABEL_COLUMNS, names)
        if label_column is None:
            found = ", ".join(names)
            raise InputError(
                f"{path}: which column holds the labels? label_column is one of: {found} (the first line of the file)"
            )
    words = [name for name in (label_column, text_column, image_column) if name is not None]
    for column in words:
        _existing(column, names, path)
    if len(set(words)) < len(words):
        raise InputError(f"{path}: column {words[-1]!r} cannot be two things; name another one")
    frame = _frame(path, names, words)
    if len(frame) == 0:
        raise InputError(f"{path} has no rows")
    labels = _as_text(frame[label_column])
    if (labels == "").any():
        raise InputError(f"{path}: row {int((labels == '').to_numpy().argmax())} has no {label_column}")
    numbers = pd.to_numeric(labels, errors="coerce")
    if pd.api.types.is_float_dtype(numbers) and (numbers % 1 == 0).all():  # 3.0, as pandas writes it, is 3
        whole = numbers.where(numbers.abs() < EXACT, 0).astype("int64").astype(str)
        labels = whole.where(numbers.abs() < EXACT, labels)  # larger ones stay as they are written
    return Table(path, labels.tolist(), frame.drop(columns=label_column), text_column)


def _column_names(path: Path) -> list[str]:
    """The names of a table's columns, without blanks around them."""
    with _readable(path):
        if path.name.lower().endswith(".parquet"):
            header = list(ParquetFile(path).schema_arrow.empty_table().to_pandas())
        else:
            # As a row: as a header, pandas would call the second of two columns `label` `label.1`.
            first_row = pd.read_csv(path, header=None, nrows=1, dtype=str, na_filter=False, **_how(path))
            header = first_row.iloc[0].tolist()
            # As pandas calls those without a name, or none if one is called so: row numbers that were saved twice.
            unnamed = [f"Unnamed: {k}" for k in range(len(header))]
            header = [name if name or word in header else word for name, word in zip(header, unnamed, strict=True)]
    names = [str(name).strip() for name in header]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has two columns called {twice!r}; give each a name of its own")
    if len(names) == 1 and (sign := next((sign for sign in (";", "\t", "|", ",") if sign in names[0]), None)):
        raise InputError(f"{path}: its columns are separated by {sign!r}, not by {_how(path)['sep']!r}; save it anew")
    return names


def _frame(path: Path, names: list[str], words: list[str]) -> pd.DataFrame:
    """The whole table, with `words` columns as they are written: a class may be called None, and a text 1.50."""
    with _readable(path):
        if path.name.lower().endswith(".parquet"):
            frame = pd.read_parquet(path)
        else:
            # A blank in front, which `_as_text` takes away: what pandas takes for "missing" is a word like any other.
            kept = dict.fromkeys(map(names.index, words), " {}".format)
            with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # rows that are cut off
                frame = pd.read_csv(path, converters=kept, on_bad_lines="error", **_how(path))
    return frame.set_axis(names, axis=1)


def _how(path: Path) -> dict[str, Any]:
    return {"sep": "\t" if ".tsv" in path.name.lower() else ",", "index_col": False}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a table can be broken in many ways: one line for all
        raise InputError(f"{path} cannot be read ({first_line(error)})") from error


def _as_text(column: pd.Series) -> pd.Series:
    return column.astype(str).where(column.notna(), "").str.strip()


def _existing(name: str, columns: Collection[str], path: Path) -> str:
    if name not in columns:
        raise InputError(f"{path} has no column {name!r}; it has: {', '.join(columns)}")
    return name


def _text_vectors(texts: list[str], test_texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """TF-IDF of words and pairs of words, then truncated SVD: float32 (N, d) and (M, d), by scikit-learn."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(ngram_range=(1, 2), min_df=2 if len(texts) >= 1000 else 1, sublinear_tf=True)
    try:
        counts = vectoriser.fit_transform(texts)
    except ValueError as error:
        raise InputError(f"the text column holds no words ({first_line(error)})") from error
    dimensions = max(1, min(TEXT_DIMENSIONS, counts.shape[1] - 1, counts.shape[0] // ROWS_A_DIMENSION))
    svd = TruncatedSVD(dimensions, random_state=0)
    vectors = svd.fit_transform(counts).astype(np.float32)
    if not test_texts:
        return vectors, vectors[:0]
    return vectors, svd.transform(vectoriser.transform(test_texts)).astype(np.float32)
