"""Tables as data: a column of labels, and columns of numbers, a text, or names of image files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nlcore.basics.errors import InputError, first_line
from nlcore.data.names import GIVEN_NAMES, INDEX_NAMES, LABEL_NAMES, TRUE_NAMES, first_named, plain

TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
LABEL_COLUMNS = (*GIVEN_NAMES, *LABEL_NAMES, "class", "y")
NO_FEATURES = (*LABEL_COLUMNS, *TRUE_NAMES, *INDEX_NAMES, "")  # columns that would tell the answer, or number the rows
TEXT_DIMENSIONS = 256  # at most so many numbers are made of a text, and one for every ten rows:
ROWS_A_DIMENSION = 10  # all of them are standardised, and the last ones of a small table are noise


@dataclass(frozen=True)
class Table:
    """A table whose label column is known: `labels` as text, `frame` without it, and the name of its text column."""

    path: Path
    labels: list[str]
    frame: pd.DataFrame
    text_column: str | None

    def column(self, name: str) -> list[str]:
        """One column as text."""
        return self.frame[_existing(name, self.frame, self.path)].astype(str).tolist()

    def vectors(self, test: "Table | None") -> tuple[np.ndarray, np.ndarray]:
        """Vectors (N, d) of this table and (M, d) of a test table, M = 0 without one, float32; what has to be learnt to
        make them, the words of a text, is learnt from this one alone."""
        if self.text_column is not None:
            return _text_vectors(self.column(self.text_column), test.column(self.text_column) if test else [])
        names = self._numbers()
        both = [self.frame[names], (test.frame if test else self.frame[:0]).reindex(columns=names)]
        return tuple(np.array(part, dtype=np.float32) for part in both)

    def _numbers(self) -> list[str]:
        names = [name for name in self.frame if plain(name) not in NO_FEATURES]
        numbers = [name for name in names if pd.api.types.is_numeric_dtype(self.frame[name])]
        if not numbers:
            columns = ", ".join(map(str, names)) or "none"
            raise InputError(
                f"{self.path} has no column of numbers; name a text column or an image column of: {columns}"
            )
        return numbers


def read_table(path: Path, label_column: str | None, text_column: str | None, image_column: str | None) -> Table:
    """Read a table and find its label column: the one that is named, else the first of the usual names. Columns that
    are called like labels, or true labels, are never features.

    Raises
    ------
    InputError : a file that cannot be read, rows of different lengths, no rows, a column that does not exist, no label
        column, a row without a label.
    """
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            frame = pd.read_parquet(path)
        else:
            separator = "\t" if ".tsv" in name else ","
            frame = pd.read_csv(path, sep=separator, index_col=False, on_bad_lines="error")
    except Exception as error:  # a table can be broken in many ways: one line for all
        raise InputError(f"{path} cannot be read ({first_line(error)})") from error
    frame.columns = [str(column) for column in frame.columns]
    if len(frame) == 0:
        raise InputError(f"{path} has no rows")
    if label_column is None:
        label_column = first_named(LABEL_COLUMNS, list(frame))
        if label_column is None:
            raise InputError(f"{path}: which column holds the labels? label_column is one of: {', '.join(frame)}")
    labels = frame[_existing(label_column, frame, path)]
    if labels.isna().any():
        raise InputError(f"{path}: row {int(labels.isna().to_numpy().argmax())} has no {label_column}")
    for column in filter(None, (text_column, image_column)):
        _existing(column, frame, path)
    if pd.api.types.is_float_dtype(labels) and (labels == labels.round()).all():
        labels = labels.astype("int64")
    return Table(path, labels.astype(str).tolist(), frame.drop(columns=label_column), text_column)


def _existing(name: str, frame: pd.DataFrame, path: Path) -> str:
    if name not in frame:
        raise InputError(f"{path} has no column {name!r}; it has: {', '.join(map(str, frame))}")
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
