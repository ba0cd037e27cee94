"""The data of an audit: what is learnt from, and how a sample is shown to a person who has to decide."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlcore.audit.classifier import BACKBONE, BACKBONE_SIZE, PIXELS_BELOW, learnt_as_they_are
from nlcore.audit.concerns import kinds_of_text
from nlcore.audit.report import Sample
from nlcore.basics.digests import content_digest
from nlcore.basics.files import user_path
from nlcore.data.datasets import DATASETS, Dataset, load_dataset
from nlcore.data.features import extract_features
from nlcore.data.names import plain
from nlcore.data.own import PREFIX, Options, holds_files, image_files, own_options
from nlcore.data.tables import NO_FEATURES, TABLE_SUFFIXES, read_table

LOOKED_AT = 20  # files whose sizes say how large the images are
OUTSTANDING = 6  # values of a row that are shown


@dataclass(frozen=True)
class Source:
    """Data with labels that nobody vouches for.

    Attributes
    ----------
    title : what a person calls them: the path, or the data set's name.
    dataset : images or vectors with the labels as they are given.
    names : what each sample is called: its file, or `row 17`.
    texts : the text of each sample, where it is one.
    columns : the names of the columns, of a table of numbers.
    left_out : the names of the other columns of a table of numbers, from which nothing is learnt.
    """

    title: str
    dataset: Dataset
    names: tuple[str, ...]
    texts: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Changes with the samples, their labels and the names of the classes."""
        data = self.dataset
        names = torch.tensor(list("\0".join(data.class_names).encode()), dtype=torch.uint8)
        return content_digest(data.train_images, data.train_labels, names)[:16]

    def inputs(self, work: Path) -> torch.Tensor:
        """What is learnt from: vectors, small images, or the features of larger ones, which are kept in `work`."""
        data = self.dataset
        if learnt_as_they_are(tuple(data.train_images.shape[1:])):
            return data.train_images
        kept = work / f"features_{self.digest}.npz"
        if not kept.exists():
            extract_features(replace(data, name=Path(self.title).name), kept, BACKBONE, BACKBONE_SIZE)
        with np.load(kept) as arrays:
            return torch.from_numpy(arrays["inputs"])

    def concerns(self, label_quality: torch.Tensor) -> list[str]:
        """A sentence for each thing that only who has read the data knows of; label_quality (N,)."""
        found = []
        if self.left_out:
            names = ", ".join(self.left_out)
            found.append(f"Nothing was learnt from columns that are not numbers: {names}. --text-column takes a text.")
        if self.texts is not None:
            found.append(kinds_of_text(self.texts, self.dataset.train_images, label_quality))
        return [sentence for sentence in found if sentence]

    def sample(self, row: int, suggested: int, quality: float, neighbours: torch.Tensor) -> Sample:
        """One sample as the report shows it. neighbours (k,): rows of those that are most like it."""
        data, given = self.dataset, int(self.dataset.train_labels[row])
        counts = Counter(data.train_labels[neighbours].tolist()).most_common()
        shown = {"row": row, "name": self.names[row], "given": given, "suggested": suggested, "quality": quality}
        shown["neighbours"] = tuple(counts)
        if self.texts is not None:
            return Sample(**shown, text=self.texts[row])
        if data.holds_vectors:
            return Sample(**shown, values=self._outstanding(row, given))
        return Sample(**shown, picture=_picture(data.train_images[row]))

    def _outstanding(self, row: int, given: int) -> tuple[tuple[str, float, float], ...]:
        """The values of a row that are the most unusual ones in its given class, with their z-scores."""
        members = self.dataset.train_images[self.dataset.train_labels == given].float()
        deviation, mean = torch.std_mean(members, 0, correction=0)
        vector = self.dataset.train_images[row].float()
        z = torch.where(deviation > 0, (vector - mean) / deviation, torch.zeros_like(vector))
        first = z.abs().argsort(descending=True, stable=True)[:OUTSTANDING].tolist()
        name = self.columns.__getitem__ if self.columns else "column {}".format
        return tuple((name(column), float(vector[column]), float(z[column])) for column in first)


def read_source(data: str, options: dict[str, Any]) -> Source:
    """Data by path, with or without `path:` in front, or a data set of the package by its name.

    A folder or a file goes before a data set of the same name. options : of own data, see `nlcore.data.own.Options`.

    Raises
    ------
    InputError : as `load_dataset` raises it.
    """
    known = data in DATASETS and not user_path(data).exists()
    if known:
        dataset = load_dataset(data, **options)
        return Source(data, dataset, _rows(len(dataset.train_labels)))
    path = data.removeprefix(PREFIX)
    own = own_options(options)
    if holds_files(path, own):
        options = options | {"image_size": options.get("image_size") or _usual_side(user_path(path), own)}
    dataset = load_dataset(PREFIX + path, **options)
    if dataset.files is not None:
        return Source(path, dataset, dataset.files)
    texts = columns = None
    left_out = ()
    if path.lower().endswith(TABLE_SUFFIXES):
        table = read_table(user_path(path), own.label_column, own.text_column, own.image_column)
        if own.text_column is not None:
            texts = tuple(table.column(own.text_column))
        else:
            columns = tuple(table.number_columns())
            left_out = tuple(n for n in table.frame if n not in columns and plain(n) not in NO_FEATURES)
    return Source(path, dataset, _rows(len(dataset.train_labels)), texts, columns, left_out)


def _usual_side(path: Path, own: Options) -> int:
    """The side that image files are decoded at: their own, if they are so small that they are learnt from pixels."""
    from PIL import Image

    files = image_files(path) if path.is_dir() else []
    if path.name.lower().endswith(TABLE_SUFFIXES):
        table = read_table(path, own.label_column, own.text_column, own.image_column)
        files = [path.parent / name for name in table.column(own.image_column)]
    sides = []
    for file in files[:LOOKED_AT]:
        try:
            with Image.open(file) as image:
                sides.append(max(image.size))
        except OSError:  # whoever decodes it says so
            continue
    return max(sides) if sides and max(sides) < PIXELS_BELOW else BACKBONE_SIZE


def _rows(n: int) -> tuple[str, ...]:
    return tuple(f"row {row}" for row in range(n))


def _picture(image: torch.Tensor) -> np.ndarray:
    """An image (C, H, W) uint8 as (H, W) or (H, W, 3); the report makes it small."""
    return image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
