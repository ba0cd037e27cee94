"""Numbers of several labels an image, against loops and against what must hold."""

from itertools import product

import numpy as np
import pytest

from benchmark import annotators
from benchmark.annotators import K


@pytest.fixture(scope="module")
def votes() -> tuple[np.ndarray, np.ndarray]:
    """Three labels of 3,000 images: two people with habits and one who mostly gives the next class."""
    generator = np.random.default_rng(0)
    true = generator.integers(K, size=3000)
    wrong = generator.random((3000, 3)) < [0.2, 0.3, 0.8]
    target = np.stack([(true + 3) % K, generator.integers(K, size=3000), (true + 1) % K], 1)
    return np.where(wrong, target, true[:, None]), true


def test_the_majority_of_two_is_as_good_as_one_label(votes):
    labels, true = votes
    values = annotators.measured(labels, true)
    assert values["majority_right"]["2"] == pytest.approx(values["majority_right"]["1"])
    assert values["majority_right"]["1"] == pytest.approx(100 * (labels == true[:, None]).mean())


def test_ties_are_shared(votes):
    labels, true = votes
    share = annotators.majority_share(annotators.vote_counts(labels), true)
    for row, class_, found in zip(labels.tolist(), true.tolist(), share, strict=True):
        most = max(row.count(c) for c in row)
        winners = {c for c in row if row.count(c) == most}
        assert found == pytest.approx((class_ in winners) / len(winners))


def test_independent_errors_are_counted_over_all_combinations(votes):
    labels, true = votes
    confusion = np.stack([annotators.confusion_counts(true, column) for column in labels.T])
    expected = np.zeros(4)
    for k in range(K):
        rates = [1 - c[k, k] / c[k].sum() for c in confusion]
        for errors in product((0, 1), repeat=3):
            chance = np.prod([r if e else 1 - r for r, e in zip(rates, errors, strict=True)])
            expected[sum(errors)] += 100 * chance * (true == k).mean()
    np.testing.assert_allclose(annotators.independent_wrong(confusion), expected)


def test_people_who_err_independently_look_independent():
    generator = np.random.default_rng(1)
    true = generator.integers(K, size=200_000)
    shift = generator.integers(1, K, size=(len(true), 3))
    labels = np.where(generator.random((len(true), 3)) < 0.2, (true[:, None] + shift) % K, true[:, None])
    values = annotators.measured(labels, true)
    counted = 100 * np.array(values["images_with_wrong"]) / values["images"]
    np.testing.assert_allclose(counted, values["independent_with_wrong"], atol=0.3)
    assert values["majority_right"]["3"] == pytest.approx(values["independent_majority_right"]["3"], abs=0.3)


def test_dawid_and_skene_reads_a_steady_error(votes):
    labels, true = votes
    values = annotators.measured(labels, true)
    assert values["dawid_skene"]["right"] > values["majority_right"]["3"] + 5


def test_all_counts_add_up(votes):
    labels, true = votes
    values = annotators.measured(labels, true)
    assert sum(values["wrong_patterns"]) == sum(values["images_with_wrong"]) == len(true)
    assert sum(row["images"] for row in values["different_labels"].values()) == len(true)
    assert np.array(values["confusion"]).sum() == 3 * len(true)
