"""Labels of several annotators: the majority becomes the given label, and what the others said is kept."""

import logging
from pathlib import Path

import numpy as np
import torch

from nlcore.basics.errors import InputError
from nlcore.data.datasets import Dataset
from nlcore.data.names import TRUE_NAMES, plain
from nlcore.noise.label_files import LabelFile, beside, class_numbers, index_name
from nlcore.noise.label_formats import Contents, read_contents
from nlcore.noise.labels import NoisyLabels
from nlcore.noise.matching import positions, warn_of_chance

log = logging.getLogger(__name__)

NO_VOTE = -1
LONG_NAMES = ("annotator", "annotator_id", "worker", "worker_id", "user")  # of a table with one row a vote


def from_votes(dataset: Dataset, path: Path, index: str | int | None, seed: int, name: str) -> NoisyLabels:
    """The majority of the votes on each image, ties broken by the seed, with the share of every class.

    Images on which nobody voted have no label: `NoisyLabels.rows` leaves them out, and a warning says how many.
    """
    file = read_votes(path, index, dataset.class_names)
    votes = file.given_labels
    if int(votes.min()) < NO_VOTE or int(votes.max()) >= dataset.num_classes:
        row, column = ((votes < NO_VOTE) | (votes >= dataset.num_classes)).nonzero()[0].tolist()
        wrong = f"vote {int(votes[row, column])} of annotator {column} in row {row}"
        raise InputError(f"{path}: votes must lie in [0, {dataset.num_classes}), {NO_VOTE} for none: {wrong}")
    position, rows = positions(file, dataset, path)
    votes = votes[position]
    if not bool((voted := (votes != NO_VOTE).any(1)).all()):
        log.warning("%s: %d of %d images have no vote and are left out", path, int((~voted).sum()), len(voted))
        rows = (torch.arange(len(votes)) if rows is None else rows)[voted]
        votes = votes[voted]
    true = dataset.train_labels if rows is None else dataset.train_labels[rows]
    given, share, ties = majority(votes, dataset.num_classes, torch.Generator().manual_seed(seed))
    votes_words = f"{votes.shape[1]} annotators, {ties} ties seed={seed}"
    words = f"annotators {path.name} sha256={file.digest}, {votes_words} of {name}"
    noisy = NoisyLabels.measured(given, true, dataset.num_classes, words, rows=rows, soft_labels=share)
    warn_of_chance(noisy, dataset, path)
    return noisy


def majority(
    votes: torch.Tensor, num_classes: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The class with most votes (N,) int64, each class's share of the votes (N, K) float32, and how many were tied.

    Parameters
    ----------
    votes : (N, A) int64, -1 where an annotator did not vote; one vote an image at least.
    generator : draws among the classes that are tied.
    """
    counts = torch.zeros(len(votes), num_classes + 1).scatter_add(1, votes + 1, torch.ones(votes.shape))[:, 1:]
    most = counts == counts.max(1, keepdim=True).values
    drawn = torch.rand(counts.shape, generator=generator).masked_fill(~most, -1.0)
    return drawn.argmax(1), counts / counts.sum(1, keepdim=True), int((most.sum(1) > 1).sum())


def read_votes(path: str | Path, index: str | int | None = None, class_names: tuple[str, ...] = ()) -> LabelFile:
    """A `LabelFile` whose given labels are votes (M, A) int64, -1 where there is none.

    Parameters
    ----------
    path : an array (M, A), or a table or dictionary with one column an annotator; empty, NaN and -1 are no vote.
    index, class_names : as in `nlcore.noise.label_files.read_label_file`. Columns of true labels are no annotators.

    Raises
    ------
    InputError : a file that cannot be read, or that holds anything but votes.
    """
    contents = read_contents(path, class_names)
    if len(contents.arrays) == 1 and (array := next(iter(contents.arrays.values()))).ndim == 2:
        columns = {str(number): array[:, number] for number in range(array.shape[1])}
        contents = Contents(contents.path, columns, contents.digest)
    if long := [name for name in contents.arrays if plain(name) in LONG_NAMES]:
        raise InputError(f"{path}: column {long[0]!r}: one row an image and one column an annotator are needed")
    rows = index_name(contents, index, "")
    annotators = [name for name in contents.arrays if name != rows and plain(name) not in TRUE_NAMES]
    if not annotators:
        raise InputError(f"{path} holds no column of votes")
    votes = [class_numbers(contents, name, class_names, missing=NO_VOTE) for name in annotators]
    if len({len(column) for column in votes}) > 1:
        raise InputError(f"{path}: annotators have different numbers of votes; leave a missing vote empty")
    numbers, index_key = beside(contents, annotators[0], rows, ())
    given = torch.from_numpy(np.stack(votes, axis=1))
    return LabelFile(given, None, numbers, "", contents.digest, index_key)
