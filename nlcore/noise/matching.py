"""Whose label is it? The labels of a file, matched to the images of a dataset and checked against all that is known."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import torch

from nlcore.basics.errors import InputError, choose
from nlcore.data.checks import check_labels
from nlcore.data.datasets import Dataset
from nlcore.data.names import pictured
from nlcore.noise.label_files import HUMAN_LABELS, LabelFile, read_label_file
from nlcore.noise.labels import NO_CLASS, NoisyLabels

log = logging.getLogger(__name__)

PLC_ROWS, PLC_OF = 45_000, 50_000  # PLC's label files cover the first so many images of CIFAR


def human_key(dataset: str, name: str) -> str:
    """The entry of a set of human labels of a dataset, by their names, in its file."""
    dataset = choose("dataset with human labels", pictured(dataset), HUMAN_LABELS)
    return HUMAN_LABELS[dataset][choose(f"human labels of {dataset}", name, HUMAN_LABELS[dataset])]


def from_file(dataset: Dataset, path: Path, options: dict[str, str | int | None], kind: str, name: str) -> NoisyLabels:
    """The labels of a file that belong to the dataset's images, checked against everything that can be checked.

    `options` are `key` and `index` of `read_label_file`.
    """
    file = read_label_file(path, **options, class_names=dataset.class_names)
    _check_classes(file.given_labels, dataset, path)
    position, rows = positions(file, dataset, path)
    true = dataset.train_labels if rows is None else dataset.train_labels[rows]
    if file.true_labels is not None:
        _check_order(file.true_labels[position], dataset, rows, path)
    words = f"{kind} {path.name} {file.key} sha256={file.digest} of {name}".replace("  ", " ")
    noisy = NoisyLabels.measured(file.given_labels[position], true, dataset.num_classes, words, rows=rows)
    wrong = None if file.true_labels is None else file.given_labels != file.true_labels
    if wrong is None or not warn_of_choice(wrong, position, dataset, path):
        warn_of_chance(noisy, dataset, path)
    return noisy


def warn_of_chance(noisy: NoisyLabels, dataset: Dataset, path: Path) -> None:
    """Say so where labels agree with the true ones hardly more often than labels in any order would."""
    if noisy.rate > min(0.8, 0.95 * (1 - 1 / dataset.num_classes)):
        log.warning(
            "%s: %.0f %% of the labels differ from those of %s: in another order, counted from 1, or not the labels?",
            path,
            100 * noisy.rate,
            dataset.name,
        )


def warn_of_choice(wrong: torch.Tensor, chosen: torch.Tensor, dataset: Dataset, path: Path) -> bool:
    """Say so, and return it, where the labels of some rows (n,) are far more often wrong, or right, than those of all;
    wrong (M,) bool.

    A subset is drawn from its seed as noise is. Of one seed, both choose the same samples.
    """
    n, size = len(chosen), len(wrong)
    share, inside = float(wrong.double().mean()), float(wrong[chosen].double().mean())
    deviation = math.sqrt(share * (1 - share) / n * (size - n) / max(1, size - 1))
    odd = abs(inside - share) > 6 * deviation + 1e-9
    if odd:
        log.warning(
            "%s: %.0f %% of the labels are wrong in these %d samples of %s, %.0f %% in all; if both were drawn with "
            "one seed, draw the labels with another: --seed 1",
            path,
            100 * inside,
            n,
            dataset.name,
            100 * share,
        )
    return odd


def _check_classes(labels: torch.Tensor, dataset: Dataset, path: Path) -> None:
    """Raise an `InputError` unless the labels are class numbers of the dataset."""
    if int(labels.min()) == 1 and int(labels.max()) == dataset.num_classes:
        raise InputError(f"{path}: labels are counted from 1 to {dataset.num_classes}; subtract 1 from each")
    check_labels(labels, len(labels), dataset.num_classes, str(path))


def saved(dataset: Dataset, path: Path) -> NoisyLabels:
    """Labels that `NoisyLabels.save` wrote, with all that they know, for all or a part of the images."""
    noisy = NoisyLabels.load(path)
    size, images = len(noisy.given_labels), len(dataset.train_labels)
    _check_classes(noisy.given_labels, dataset, path)
    place = torch.full((dataset.full_size,), -1)
    index = _rows_of_saved(noisy, dataset)
    if index is not None and len(index) == size and bool(((index >= 0) & (index < dataset.full_size)).all()):
        place[index] = torch.arange(size)
    samples = place[dataset.train_index]
    rows = None if noisy.rows is None else (samples >= 0).nonzero().flatten()  # some images may have no label
    samples = samples if rows is None else samples[rows]
    if not len(samples) or bool((samples < 0).any()):
        why = "of other rows, or of another data set" if size >= images else "fewer than there are"
        raise InputError(f"{path} has {size} labels, {dataset.name} has {images} training images: {why}")
    words = f"{noisy.identity}, saved as {path.name}"
    if not torch.equal(samples, torch.arange(size)):
        if noisy.true_labels is not None:
            warn_of_choice(noisy.given_labels != noisy.true_labels, samples, dataset, path)
        noisy, words = noisy.at(samples), f"{words}, {len(samples)} of {size}"
    if noisy.true_labels is not None:
        _check_order(noisy.true_labels, dataset, rows, path)
    return replace(noisy, identity=words, rows=rows)


def _rows_of_saved(noisy: NoisyLabels, dataset: Dataset) -> torch.Tensor | None:
    """The row of each label in the whole training set (N,); None if it cannot be known."""
    if noisy.index is not None:
        return noisy.index
    # Files of before labels knew their rows.
    if noisy.rows is not None and bool((noisy.rows < len(dataset.train_index)).all()):
        return dataset.train_index[noisy.rows]
    if noisy.rows is None and len(noisy.given_labels) == dataset.full_size:
        return torch.arange(dataset.full_size)
    return dataset.train_index if noisy.rows is None else None


def _check_order(true: torch.Tensor, dataset: Dataset, rows: torch.Tensor | None, path: Path) -> None:
    """Raise an `InputError` unless a file's true labels (n,) are those of the images `rows` (n,), None = all."""
    rows = torch.arange(len(true)) if rows is None else rows
    expected = dataset.train_labels[rows]
    differ = ((true != expected) & (true != NO_CLASS)).nonzero().flatten()
    if len(differ):
        at = int(differ[0])
        raise InputError(
            f"{path}: true labels disagree with {dataset.name} at {len(differ)} of {len(true)} images (image "
            f"{int(dataset.train_index[rows[at]])}: {int(true[at])}, not {int(expected[at])}); {_cause(path)}"
        )


def _cause(path: Path) -> str:
    if "_ordered" in path.name:  # CIFAR-N's files of this name
        return "it is in the order of TensorFlow Datasets: take the .pt file of the same authors"
    return "in another order, or for another dataset?"


def positions(file: LabelFile, dataset: Dataset, path: Path) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Where in the file the label of each image is (n,), and which images have one (n,), None = all."""
    index, size = dataset.train_index, len(file.given_labels)
    if file.index is not None:  # the file says which image each label is for
        place = torch.full((dataset.full_size,), -1)
        inside = (file.index >= 0) & (file.index < dataset.full_size)
        if not bool(inside.all()) or len(file.index.unique()) != size:
            raise InputError(
                f"{path}: the column {file.index_key!r} must name different images of 0 to {dataset.full_size - 1}; "
                "if it does not name rows, and all labels are in their order, say so with the option index=none"
            )
        place[file.index] = torch.arange(size)
        if bool((place[index] < 0).any()):
            missing = int(index[(place[index] < 0).nonzero()[0]])
            raise InputError(f"{path} has {size} labels, none for image {missing} of {dataset.name}")
        return place[index], None
    if size == dataset.full_size:
        return index, None
    if (size, dataset.full_size) == (PLC_ROWS, PLC_OF):
        rows = (index < PLC_ROWS).nonzero().flatten()
        return index[rows], rows
    if size == len(index):
        return torch.arange(size), None
    hint = "; a number in the first line is a label, not a header" if size == dataset.full_size + 1 else ""
    part = (
        ""
        if len(index) == dataset.full_size
        else f", of which {len(index)} are used: it needs labels of all or of these"
    )
    raise InputError(f"{path} has {size} labels, {dataset.name} has {dataset.full_size} training images{part}{hint}")
