"""Which labels are issues: arrays in, a table out, no training.

The columns go by the names that users of cleanlab know.
"""

import numpy as np
import pandas as pd
import torch

from nlcore.audit.calibration import ISSUE_BELOW, Quality, quality
from nlcore.audit.evidence import Outside, best_by_direction, directions, require_differences, standardised
from nlcore.basics.chance import SEEDS
from nlcore.basics.errors import InputError
from nlcore.data.vectors import check_float32

TAKEN = (np.float16, np.float32, np.float64)  # types that torch takes as they are
COLUMNS = ("is_label_issue", "label_quality", "given_label", "predicted_label")


def find_label_issues(labels, pred_probs=None, features=None, seed: int = 0) -> pd.DataFrame:
    """Which labels are probably wrong, how sure that is, and what they should probably be.

    Parameters
    ----------
    labels : N labels of any kind, two classes at least; an array, a list or a pandas Series.
    pred_probs : (N, K) probabilities of your own model, its columns in the order of the sorted labels, or a DataFrame
        whose columns are the labels, in any order. The model must not have been trained on the sample that it judges:
        out of fold, as of cross-validation.
    features : (N, d) numbers that describe each sample, for example embeddings. A linear classifier out of fold and the
        nearest neighbours are asked. With both, the mean of the two opinions counts.
    seed : of the folds and of the planted labels.

    Returns
    -------
    A row for each sample, in the same order and with the index of `labels` or `features` where they are pandas objects:
    `is_label_issue` bool, `label_quality` (the probability that the given label is right, calibrated by labels that
    were planted wrong), `given_label`, `predicted_label`. `attrs["wrong"]` holds how many labels are probably wrong:
    (estimate, lower, upper end of an interval).

    Raises
    ------
    InputError : neither probabilities nor features, shapes that do not fit, NaN or infinity, numbers that float32 does
        not hold, the same ones in every row, probabilities that are negative or do not sum to 1, one class alone, a
        missing label, pandas objects whose indexes have another order, a seed out of range.
    """
    SEEDS.check("seed", seed, whole=True)
    index = _one_index(labels, features, pred_probs)
    classes, given = as_classes(labels)
    opinions = []
    if pred_probs is not None:
        opinions.append(_checked_probs(pred_probs, len(given), classes))
    if features is not None:
        vectors = _checked_features(features, len(given))
        view = directions if best_by_direction(vectors, given, len(classes), seed) else standardised
        opinions.append(Outside(view(vectors), given, len(classes), seed).opinion())
    if not opinions:
        raise InputError("find_label_issues needs pred_probs or features, or both")
    opinion = sum(opinions) / len(opinions)
    return issue_table(quality(opinion, given, seed), given, classes, index)


def issue_table(found: Quality, given: torch.Tensor, classes: np.ndarray, index=None) -> pd.DataFrame:
    """The table of `find_label_issues` from calibrated qualities.

    Where a label is more likely wrong than right the predicted label is the most probable other one: nobody is told to
    replace a label by itself.
    """
    issue = found.label_quality < ISSUE_BELOW
    others = found.opinion.scatter(1, given[:, None], -1.0).argmax(1)
    predicted = torch.where(issue, others, found.opinion.argmax(1))
    table = {
        "is_label_issue": issue.numpy(),
        "label_quality": found.label_quality.numpy(),
        "given_label": classes[given.numpy()],
        "predicted_label": classes[predicted.numpy()],
    }
    frame = pd.DataFrame(table, index=index)
    frame.attrs["wrong"] = found.wrong
    return frame


def as_classes(labels) -> tuple[np.ndarray, torch.Tensor]:
    """The sorted classes of N labels of any kind, and the number of each label's class (N,) int64.

    Raises
    ------
    InputError : labels that are not one for each sample, missing, or all the same.
    """
    values = np.asarray(labels)
    if values.ndim != 1 or len(values) == 0:
        raise InputError(f"labels must be one for each sample, not of shape {values.shape}")
    missing = pd.isna(values)
    if values.dtype.kind in "OUS":
        missing |= np.array([isinstance(value, str | bytes) and not value.strip() for value in values.tolist()])
    if missing.any():
        raise InputError(f"sample {int(missing.argmax())} has no label")
    if values.dtype == object and len({type(value) for value in values}) > 1:
        values = values.astype(str)  # words and numbers together have no order
    classes, given = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"the labels have 1 class, {classes[0]}; two are needed")
    return classes, torch.from_numpy(given.astype(np.int64))


def _one_index(*tables) -> pd.Index | None:
    """The index of the first pandas object, None without one; samples are taken in their order, so a second one must
    not have the same index in another."""
    found = [table.index for table in tables if isinstance(table, pd.Series | pd.DataFrame)]
    for index in found[1:]:
        if not index.equals(found[0]) and len(index) == len(found[0]) and set(index) == set(found[0]):
            raise InputError("labels, features and pred_probs have the same index in another order; align them first")
    return found[0] if found else None


def _checked_probs(pred_probs, n: int, classes: np.ndarray) -> torch.Tensor:
    if isinstance(pred_probs, pd.DataFrame):
        place = {str(name): number for number, name in enumerate(pred_probs.columns)}
        if place.keys() == {str(name) for name in classes}:
            pred_probs = pred_probs.iloc[:, [place[str(name)] for name in classes]]
    probs = _numbers(pred_probs, "pred_probs")
    if probs.shape != (n, len(classes)):
        raise InputError(
            f"pred_probs must have a row for each of {n} labels and a column for each of {len(classes)} classes, "
            f"not the shape {tuple(probs.shape)}"
        )
    off = (probs.sum(1) - 1).abs().max()
    if bool((probs < 0).any()) or off > 1e-2:
        raise InputError("pred_probs must be probabilities: not negative, and every row sums to 1")
    require_differences(probs, "pred_probs")
    return probs


def _checked_features(features, n: int) -> torch.Tensor:
    vectors = _numbers(features, "features")
    if vectors.ndim != 2 or len(vectors) != n or vectors.shape[1] == 0:
        raise InputError(f"features must have a row for each of {n} labels, not the shape {tuple(vectors.shape)}")
    require_differences(vectors, "features")
    check_float32(vectors.numpy(), "features")
    return vectors


def _numbers(values, what: str) -> torch.Tensor:
    try:
        array = np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
        if array.dtype.kind == "c":
            raise TypeError("complex numbers have no order")
        # float16 to float64 stay; whole numbers, longer ones and those in another order of bytes become float64.
        tensor = as_tensor(array if array.dtype in TAKEN else array.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be numbers") from error
    if not bool(tensor.isfinite().all()):
        raise InputError(f"{what} hold NaN or infinity, first in row {int((~tensor.isfinite()).nonzero()[0][0])}")
    return tensor


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """An array as a tensor, in the same memory where torch allows it: what is read-only, as of pandas, is copied."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
