"""A classifier for data with wrong labels, scikit-learn's way: fit, predict, and a table of the labels to look at."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from nlcore.audit.calibration import quality, transition
from nlcore.audit.concerns import concerns
from nlcore.audit.evidence import (
    FOLDS,
    Outside,
    best_by_direction,
    directions,
    folds,
    judged,
    require_differences,
    some,
    standardised,
)
from nlcore.audit.issues import as_classes, as_tensor, issue_table
from nlcore.audit.judge import Judge, train_judge
from nlcore.basics.errors import InputError, choose
from nlcore.basics.ranges import Range
from nlcore.data.backbones import load_backbone
from nlcore.data.features import in_passes
from nlcore.data.vectors import check_float32
from nlcore.methods import METHODS

EPOCHS = Range(1)
PIXELS_BELOW = 32  # side of an image below which a network that knows photographs sees nothing
BACKBONE, BACKBONE_SIZE = "efficientnet_lite0", 112
TAUGHT = 200_000  # samples that the network of a fold learns from at most
SMALL_IMAGES = "glyphs"  # the data set whose recipe small images are trained by


class AuditWarning(UserWarning):
    """Something that could fool an audit; it is in `concerns_` too."""


class NoisyLabelClassifier(ClassifierMixin, BaseEstimator):
    """Learns from labels some of which are wrong, and says which.

    Three models judge every label, each without having seen it: a linear classifier, the nearest neighbours, and
    networks that `method` trains, one a fold. Qualities are calibrated by labels that are planted wrong, see
    `nlcore.audit`. Predictions are the mean of the networks'.

    Vectors are compared column by column, each scaled by its own deviation, or as directions, whichever foretells the
    labels better (`nlcore.audit.evidence.best_by_direction`): texts and embeddings have columns of one unit.

    Images of 32 pixels and more become vectors first, by a network that knows photographs
    (`nlcore.data.backbones`); smaller ones are learnt as they are.

    Parameters
    ----------
    method : how networks are trained, a name of `nlcore.methods.METHODS`: `tssd`, `anchor`, `dividemix`, ...
    epochs : of each; None = as many as the size of the data asks for.
    random_state : of everything random: a whole number, a numpy `RandomState`, or None.

    Attributes
    ----------
    classes_ : (K,), the labels that occur, sorted.
    label_issues_ : a row for each sample, see `find_label_issues`: `is_label_issue`, `label_quality`, `given_label`,
        `predicted_label`. A DataFrame's index is kept.
    wrong_ : (estimate, lower, upper end of an interval) of the number of wrong labels.
    noise_rate_ : the estimate as a share of all.
    transition_matrix_ : (K, K), estimated share of given label k (column) among samples whose true class is c (row).
    concerns_ : sentences on what could fool the audit; each is a warning too.
    opinion_ : (N, K) float64, probability of each class in the opinion of the three, with the given label weighed in by
        how labels go wrong (`nlcore.audit.calibration.weighed`).
    neighbours_ : (N, k), rows of each sample's nearest others.
    n_features_in_, feature_names_in_ : as everywhere in scikit-learn; of vectors only.

    Examples
    --------
    >>> model = NoisyLabelClassifier().fit(X, y)
    >>> model.label_issues_.sort_values("label_quality").head(20)
    >>> model.predict(X_new)
    """

    def __init__(
        self,
        method: str = "tssd",
        epochs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ):
        self.method = method
        self.epochs = epochs
        self.random_state = random_state

    def fit(self, X, y) -> "NoisyLabelClassifier":
        """Judge the labels y (N,) of X: vectors (N, d), or uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W).

        Raises
        ------
        InputError (a ValueError) : an unknown method, shapes that do not fit, NaN, numbers that float32 does not
            hold, the same ones in every row, labels of one class alone, so few that no fold has two classes.
        """
        choose("method", self.method, METHODS)
        if self.epochs is not None:
            EPOCHS.check("epochs", self.epochs, whole=True)
        index = next((values.index for values in (X, y) if isinstance(values, pd.DataFrame | pd.Series)), None)
        if is_pictures(X):
            inputs, y = pictures(X), np.asarray(y)
            if len(inputs) != len(y):
                raise InputError(f"{len(inputs)} images and {len(y)} labels")
            check_classification_targets(y)
        else:
            if y is not None and np.asarray(y).dtype == object:
                as_classes(y)  # names the sample without a label, where scikit-learn knows no such thing
            X, y = validate_data(self, X, y, dtype=(np.float32, np.float64))
            check_classification_targets(y)
            check_float32(X, "X")
            inputs = as_tensor(X.astype(np.float32, copy=False))
        require_differences(inputs, "the samples")
        classes, labels = as_classes(y)
        self.sample_shape_ = tuple(inputs.shape[1:])
        self.judge(as_seen(inputs), labels, classes, index)
        for sentence in self.concerns_:
            warnings.warn(sentence, AuditWarning, stacklevel=2)
        return self

    def judge(
        self,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        classes: np.ndarray,
        index=None,
        on_epoch: Callable[[float], object] = lambda share: None,
        folder: Path | None = None,
    ) -> "NoisyLabelClassifier":
        """`fit` without its checks, on tensors: vectors (N, d) or small images, labels (N,) int64 in [0, K).

        on_epoch : hears what share of all epochs is done. folder : of checkpoints, see `train_judge`.
        """
        seed = int(check_random_state(self.random_state).randint(2**30))
        num_classes = len(classes)
        flat = inputs.flatten(1)
        one_unit = best_by_direction(flat, labels, num_classes, seed)
        outside = Outside((directions if one_unit else standardised)(flat), labels, num_classes, seed)
        fold = folds(labels, num_classes, FOLDS, seed)
        network = torch.full((len(labels), num_classes), 1 / num_classes, dtype=torch.float64)
        self.judges_: list[Judge] = []
        for number in range(FOLDS):
            inside, left_out = (fold != number).nonzero().flatten(), (fold == number).nonzero().flatten()
            inside = inside[some(len(inside), TAUGHT, seed)]
            if len(left_out) == 0 or len(labels[inside].unique()) < 2:
                continue  # nobody to ask about, or nothing to learn

            def advance(done: int, total: int, before: int = number) -> None:
                on_epoch((before + done / total) / FOLDS)

            judge = train_judge(
                inputs[inside],
                labels[inside],
                num_classes,
                self.method,
                seed + number,
                self.epochs,
                advance,
                folder and folder / f"fold_{number}",
                SMALL_IMAGES if inputs.ndim == 4 else "own",
                one_unit and inputs.ndim == 2,
            )
            network[left_out] = judge.opinion(inputs[left_out])
            self.judges_.append(judge)
        if not self.judges_:
            raise InputError(f"{len(labels)} samples are too few: no fold has two classes to learn")
        self.classes_ = classes
        self.neighbours_ = outside.neighbours
        opinion = judged(outside, network)
        found = quality(opinion, labels, seed)
        self.opinion_ = found.opinion
        self.label_issues_ = issue_table(found, labels, classes, index)
        self.wrong_ = found.wrong
        self.noise_rate_ = found.wrong[0] / len(labels)
        self.transition_matrix_ = transition(opinion, labels).numpy()
        names = tuple(map(str, classes))
        self.concerns_ = concerns(outside.vectors, labels, names, self.neighbours_, opinion, found.label_quality)
        return self

    def predict_proba(self, X) -> np.ndarray:
        """Probability of each class of `classes_`: (N, K)."""
        check_is_fitted(self)
        inputs = pictures(X) if is_pictures(X) else as_tensor(validate_data(self, X, reset=False, dtype=np.float32))
        if tuple(inputs.shape[1:]) != self.sample_shape_:
            raise InputError(f"samples of shape {tuple(inputs.shape[1:])}; it was fitted on {self.sample_shape_}")
        inputs = as_seen(inputs)
        return (sum(judge.probs(inputs) for judge in self.judges_) / len(self.judges_)).numpy()

    def predict(self, X) -> np.ndarray:
        """The most probable class of each sample: (N,)."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]


def is_pictures(X) -> bool:
    """Whether X is an array of images, not of vectors."""
    return getattr(X, "ndim", 0) in (3, 4) and getattr(X, "dtype", None) in (np.uint8, torch.uint8)


def pictures(X) -> torch.Tensor:
    """uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W) as (N, C, H, W), with one channel or three."""
    images = torch.as_tensor(np.asarray(X))
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2).contiguous()
    if images.shape[1] not in (1, 3):
        raise InputError(f"images of shape {tuple(images.shape[1:])}; one or three channels, first or last")
    return images


def learnt_as_they_are(shape: tuple[int, ...]) -> bool:
    """Whether samples of this shape are vectors, or images so small that they are learnt from their pixels."""
    return len(shape) == 1 or min(shape[1:]) < PIXELS_BELOW


def as_seen(inputs: torch.Tensor) -> torch.Tensor:
    """Vectors and small images as they are, larger images as the features of a network that knows photographs."""
    if learnt_as_they_are(tuple(inputs.shape[1:])):
        return inputs
    return in_passes(load_backbone(BACKBONE, BACKBONE_SIZE), inputs)
