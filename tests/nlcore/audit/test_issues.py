"""`find_label_issues`: arrays in, a table out."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nlcore import InputError, find_label_issues
from nlcore.audit.issues import COLUMNS

WORDS = np.array(["ant", "bee", "cat", "dog"])


def probabilities(data) -> np.ndarray:
    """A good model's: nine tenths on the true class."""
    return np.full((len(data.true), 4), 0.1 / 3) + (0.9 - 0.1 / 3) * np.eye(4)[data.true.numpy()]


@pytest.mark.parametrize("given", ["features", "pred_probs", "both"])
def test_wrong_labels_are_found_and_the_right_ones_suggested(noisy, given: str) -> None:
    arguments = {"features": noisy.vectors.numpy(), "pred_probs": probabilities(noisy)}
    arguments = arguments if given == "both" else {given: arguments[given]}
    table = find_label_issues(WORDS[noisy.given], **arguments)
    assert tuple(table) == COLUMNS and len(table) == 600
    wrong = noisy.wrong.numpy()
    assert roc_auc_score(wrong, -table["label_quality"]) > 0.95
    assert (table["is_label_issue"] == (table["label_quality"] < 0.5)).all()
    assert (table["predicted_label"] == WORDS[noisy.true])[wrong].mean() > 0.9
    assert (table["given_label"] == WORDS[noisy.given]).all()


def test_an_issue_is_never_told_to_keep_its_label(noisy) -> None:
    table = find_label_issues(noisy.given, features=noisy.vectors)
    issues = table[table["is_label_issue"]]
    assert len(issues) > 50 and (issues["predicted_label"] != issues["given_label"]).all()


def test_the_index_of_a_pandas_object_is_kept(noisy) -> None:
    index = [f"sample {i}" for i in range(600)]
    table = find_label_issues(pd.Series(noisy.given.numpy(), index=index), features=noisy.vectors.numpy())
    assert list(table.index) == index
    table = find_label_issues(noisy.given.numpy(), features=pd.DataFrame(noisy.vectors.numpy(), index=index))
    assert list(table.index) == index


def test_a_table_of_pandas_is_read_without_a_warning(noisy) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_label_issues(noisy.given.numpy(), features=pd.DataFrame(noisy.vectors.numpy()))


def test_how_many_are_wrong_comes_with_the_table(noisy) -> None:
    estimate, low, high = find_label_issues(noisy.given, features=noisy.vectors).attrs["wrong"]
    assert low <= estimate <= high and low <= int(noisy.wrong.sum()) <= high


def test_the_same_seed_gives_the_same_table(noisy) -> None:
    first, second = (find_label_issues(noisy.given, features=noisy.vectors, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": None}, "needs pred_probs or features"),
        ({"features": np.zeros((599, 6))}, "row for each of 600 labels"),
        ({"features": np.zeros(600)}, "row for each of 600 labels"),
        ({"features": np.full((600, 6), np.nan)}, "NaN or infinity, first in row 0"),
        ({"features": np.full((600, 2), "x")}, "features must be numbers"),
        ({"pred_probs": np.full((600, 3), 1 / 3)}, "a column for each of 4 classes"),
        ({"pred_probs": np.full((600, 4), 0.5)}, "every row sums to 1"),
        ({"pred_probs": np.tile([1.5, -0.5, 0, 0], (600, 1))}, "not negative"),
        ({"labels": np.zeros(600)}, "1 class"),
        ({"labels": np.full((600, 2), 1)}, "one for each sample"),
        ({"labels": [None] * 600}, "sample 0 has no label"),
        ({"labels": []}, "one for each sample"),
        ({"labels": [" "] * 600}, "sample 0 has no label"),
        ({"features": np.ones((600, 6))}, "features are the same in every row"),
        ({"pred_probs": np.full((600, 4), 0.25)}, "pred_probs are the same in every row"),
        ({"features": np.arange(1200.0).reshape(600, 2) * 1e200}, "too large for float32"),
        ({"features": np.arange(1200.0).reshape(600, 2) + 1e12}, "subtract the column's mean first"),
        ({"features": np.full((600, 2), 1j)}, "features must be numbers"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_bad_input_is_one_line(noisy, change: dict, says: str) -> None:
    arguments = {"labels": noisy.given.numpy(), "features": noisy.vectors.numpy()} | change
    with pytest.raises(InputError, match=says) as error:
        find_label_issues(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [">f4", ">f8", np.longdouble, "tensor"])
def test_numbers_of_any_kind_are_numbers(noisy, kind) -> None:
    vectors = noisy.vectors.double()
    other = vectors.clone().requires_grad_() if kind == "tensor" else vectors.numpy().astype(kind)
    expected = find_label_issues(noisy.given, features=vectors)["label_quality"]
    assert np.allclose(find_label_issues(noisy.given, features=other)["label_quality"], expected, atol=1e-6)


def test_the_unit_of_a_column_does_not_matter(noisy) -> None:
    vectors = noisy.vectors.numpy().astype(np.float64)
    tiny, plain = (find_label_issues(noisy.given, features=vectors * unit) for unit in (1e-15, 1.0))
    assert (tiny["is_label_issue"] == plain["is_label_issue"]).mean() > 0.99


def test_columns_of_probabilities_go_by_their_names_where_they_have_those_of_the_labels(noisy) -> None:
    probs = pd.DataFrame(probabilities(noisy), columns=WORDS)
    turned = find_label_issues(WORDS[noisy.given], probs[WORDS[::-1]])
    pd.testing.assert_frame_equal(turned, find_label_issues(WORDS[noisy.given], probs))
    by_number = probs.set_axis(range(4), axis=1)
    pd.testing.assert_frame_equal(find_label_issues(WORDS[noisy.given], by_number), turned)


def test_the_same_index_in_another_order_is_refused(noisy) -> None:
    labels, features = pd.Series(noisy.given.numpy()), pd.DataFrame(noisy.vectors.numpy())
    with pytest.raises(InputError, match="align them first"):
        find_label_issues(labels, features=features[::-1])


def test_words_and_numbers_together_are_labels_too(noisy) -> None:
    labels = [int(k) if k else "none" for k in noisy.given]
    assert set(find_label_issues(labels, features=noisy.vectors)["given_label"]) == {"1", "2", "3", "none"}
