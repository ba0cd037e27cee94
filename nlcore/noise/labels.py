"""Noisy labels as a value: what a learner is given, beside everything that is known about it.

Every noise model, every label file of others and every set of human labels ends in one `NoisyLabels`. It says what was
realised, names itself well enough to be made again, and survives a file.
"""

import io
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch

from nlcore.basics.errors import InputError, first_line
from nlcore.basics.files import save_file, user_path
from nlcore.data.datasets import Dataset

NO_CLASS = -1  # the true label of an image that shows none of the classes


@dataclass(frozen=True)
class NoisyLabels:
    """The labels that a learner is given, beside what is known of them.

    Attributes
    ----------
    given_labels : (N,) int64, what the learner sees.
    true_labels : (N,) int64, or None where nobody knows them; -1 for an image of no class (open-set noise).
    transition_matrix : (K, K) float64, realised: row = true class, column = given class; None without true labels. A
        row is NaN if no sample has that class.
    rate : realised share of wrong labels; None without true labels.
    identity : the noise in words that reproduce it.
    flip_prob : (N,) float64, the probability of a wrong label for each sample, where the model defines one; else None.
    rows : (N,) int64, the training images that these labels are for; None = all of them, in order.
    outside_rows, outside_images : (M,) int64 and (M, C, H, W) uint8, the samples whose images open-set noise replaces,
        and what it puts there; else None.
    soft_labels : (N, K) float32, the share of each class in the votes of several annotators; else None.
    index : (N,) int64, the row of each sample in the whole training set; None where nobody said.
    """

    given_labels: torch.Tensor
    true_labels: torch.Tensor | None
    transition_matrix: torch.Tensor | None
    rate: float | None
    identity: str
    flip_prob: torch.Tensor | None = None
    rows: torch.Tensor | None = None
    outside_rows: torch.Tensor | None = None
    outside_images: torch.Tensor | None = None
    soft_labels: torch.Tensor | None = None
    index: torch.Tensor | None = None

    @classmethod
    def measured(
        cls, given_labels: torch.Tensor, true_labels: torch.Tensor, num_classes: int, identity: str, **others
    ) -> "NoisyLabels":
        """Noisy labels (N,) beside their true ones (N,), with the transition matrix and the rate counted in them."""
        matrix = realised_transition(true_labels, given_labels, num_classes)
        rate = float((given_labels != true_labels).double().mean())
        return cls(given_labels, true_labels, matrix, rate, identity, **others)

    @property
    def open_set(self) -> torch.Tensor:
        """The samples that show none of the classes, as an (N,) bool tensor."""
        flagged = torch.zeros(len(self.given_labels), dtype=torch.bool)
        if self.outside_rows is not None:
            flagged[self.outside_rows] = True
        return flagged

    def at(self, samples: torch.Tensor) -> "NoisyLabels":
        """The labels of some samples (n,) int64 only, in that order, as labels for all images of a smaller set.

        Rate and transition matrix are counted again.
        """
        per_sample = ("given_labels", "true_labels", "flip_prob", "soft_labels", "index")
        held = {name: getattr(self, name) for name in per_sample}
        kept = {name: value[samples] for name, value in held.items() if value is not None} | {"rows": None}
        if self.outside_rows is not None:
            place = torch.full((len(self.given_labels),), -1)
            place[samples] = torch.arange(len(samples))
            stay = place[self.outside_rows] >= 0
            kept |= {"outside_rows": place[self.outside_rows][stay], "outside_images": self.outside_images[stay]}
        noisy = replace(self, **kept)
        if noisy.true_labels is None:
            return noisy
        counted = self.measured(noisy.given_labels, noisy.true_labels, len(self.transition_matrix), self.identity)
        return replace(noisy, transition_matrix=counted.transition_matrix, rate=counted.rate)

    def shown(self, dataset: Dataset) -> Dataset:
        """The dataset as the learner meets it: without images that have no label, and with the foreign ones put in.

        The same object where there is nothing to change, which is the usual case.
        """
        if self.rows is not None:
            dataset = dataset.rows(self.rows)
        if self.outside_rows is not None:
            images = dataset.train_images.clone()
            images[self.outside_rows] = self.outside_images
            dataset = replace(dataset, train_images=images, statistics=None)
        return dataset

    def save(self, path: str | Path) -> None:
        """Write an `.npz` of plain arrays, whole or not at all.

        Raises
        ------
        InputError : a path that cannot be written.
        """
        path = user_path(path)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        content = io.BytesIO()
        np.savez_compressed(content, **{name: np.asarray(value) for name, value in values.items() if value is not None})
        save_file(path, content.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "NoisyLabels":
        """The inverse of `save`; reading runs no code from the file.

        Raises
        ------
        InputError : a file that is missing, damaged or not of `save`.
        """
        path, names = user_path(path), {field.name for field in fields(cls)}
        # A damaged archive shows itself in many ways: one line for all.
        try:
            with np.load(path, allow_pickle=False) as archive:
                values = {name: archive[name] for name in archive.files if name in names}
            tensors = {name: torch.from_numpy(value) for name, value in values.items() if value.ndim}
            known = {"true_labels": None, "transition_matrix": None, "rate": None, "identity": str(values["identity"])}
            if "rate" in values:
                known["rate"] = float(values["rate"])
            return cls(**known | tensors)
        except Exception as error:
            raise InputError(
                f"{path} does not hold saved labels ({type(error).__name__}: {first_line(error)})"
            ) from error


def is_saved(path: str | Path) -> bool:
    """Whether a file is one of `NoisyLabels.save`, rather than an archive of someone else's."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return "identity" in archive.files
    except Exception:  # whoever reads it next will say what is wrong with it
        return False


def realised_transition(true_labels: torch.Tensor, given_labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Share of each true class (row) that carries each given label (column): (K, K) float64.

    Samples of no class are left out.
    """
    known = true_labels != NO_CLASS
    pairs = true_labels[known] * num_classes + given_labels[known]
    counts = torch.bincount(pairs, minlength=num_classes**2).double().reshape(num_classes, num_classes)
    return counts / counts.sum(1, keepdim=True)


def write_csv(path: Path, dataset: Dataset, noisy: NoisyLabels) -> None:
    """The labels of a dataset as a learner meets it: index, given label, true label.

    The index is that of the whole training set; a truth that is unknown is empty.
    """
    true = [""] * len(noisy.given_labels) if noisy.true_labels is None else noisy.true_labels.tolist()
    columns = zip(dataset.train_index.tolist(), noisy.given_labels.tolist(), true, strict=True)
    lines = ["index,given_label,true_label", *(f"{i},{given},{t}" for i, given, t in columns)]
    save_file(path, "\n".join(lines) + "\n")
