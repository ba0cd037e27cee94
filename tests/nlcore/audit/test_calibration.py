"""Calibration: labels planted wrong tell how many of the given ones are, and how sure each is."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from nlcore.audit.calibration import (
    chance_wrong,
    likely_errors,
    log_odds,
    plant,
    quality,
    share_wrong,
    transition,
    weighed,
)
from nlcore.audit.evidence import Outside, given_label_prob, kappa, standardised


def opinion_of(data, num_classes: int = 4) -> torch.Tensor:
    return Outside(standardised(data.vectors), data.given, num_classes, 0).opinion()


def test_log_odds_are_those_of_the_given_label_and_never_infinite() -> None:
    opinion = torch.tensor([[0.8, 0.2], [1.0, 0.0]], dtype=torch.float64)
    found = log_odds(opinion, torch.tensor([0, 1]))
    assert found[0] == pytest.approx(np.log(4)) and bool(found.isfinite().all())


def test_the_transition_is_that_of_the_labels_where_classes_lie_apart(make_blobs) -> None:
    data = make_blobs(n=4000, rate=0.3)
    found = transition(opinion_of(data), data.given)
    joint = torch.zeros(4, 4, dtype=torch.float64)
    joint.index_put_((data.true, data.given), torch.ones(4000, dtype=torch.float64), accumulate=True)
    assert (found - joint / joint.sum(1, keepdim=True)).abs().max() < 0.05


def test_a_label_is_weighed_in_by_bayes_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    opinion = torch.rand(20, 3, generator=generator, dtype=torch.float64).softmax(1)
    likely = torch.rand(3, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (20,), generator=generator)
    found = weighed(opinion, labels, likely)
    for n, label in enumerate(labels.tolist()):
        joint = [float(opinion[n, c] * likely[c, label]) for c in range(3)]
        assert found[n].tolist() == pytest.approx([value / sum(joint) for value in joint])


def test_a_transition_counts_as_much_as_the_opinions_are_certain() -> None:
    spread = torch.tensor([[0.8, 0.2], [0.0, 1.0]], dtype=torch.float64)
    labels = torch.zeros(10, dtype=torch.int64)
    certain, unsure = torch.eye(2, dtype=torch.float64)[labels], torch.full((10, 2), 0.5, dtype=torch.float64)
    torch.testing.assert_close(likely_errors(certain, spread, labels), spread + 0.1)
    torch.testing.assert_close(likely_errors(unsure, spread, labels), torch.ones(2, 2, dtype=torch.float64))


def test_labels_that_are_often_given_in_error_are_doubted_more(make_blobs) -> None:
    """Classes 0 and 2 lose labels to 1 and 3, and all overlap: a doubted 1 is wrong oftener than a doubted 0."""
    data = make_blobs(n=3000, rate=0.0, seed=4, width=1.6)
    hit = (data.true % 2 == 0) & (torch.rand(3000, generator=torch.Generator().manual_seed(0)) < 0.4)
    given = torch.where(hit, data.true + 1, data.true)
    opinion = Outside(standardised(data.vectors), given, 4, 0).opinion()
    before, after = (
        average_precision_score(hit, -given_label_prob(found, given))
        for found in (opinion, quality(opinion, given).opinion)
    )
    assert after > before + 0.02


def test_a_planted_label_is_never_the_given_one_and_follows_the_transition() -> None:
    labels = torch.zeros(4000, dtype=torch.int64)
    opinion = torch.full((4000, 3), 1 / 3, dtype=torch.float64)
    spread = torch.tensor([[0.6, 0.3, 0.1], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    _, found = plant(opinion, labels, 0.0, spread, 5000, torch.Generator().manual_seed(0))
    assert len(found) == 5000 and bool((found != 0).all())
    assert float((found == 1).double().mean()) == pytest.approx(0.75, abs=0.03)


def test_labels_are_planted_in_the_classes_that_go_wrong() -> None:
    """Per right label class 0 has 2/3 of a wrong one, class 1 an eighth of that, class 2 none."""
    labels = torch.arange(3000) % 3
    opinion = torch.full((3000, 3), 1 / 3, dtype=torch.float64)
    spread = torch.tensor([[0.6, 0.2, 0.2], [1 / 13, 12 / 13, 0], [0, 0, 1]], dtype=torch.float64)
    rows, found = plant(opinion, labels, 0.0, spread, 9000, torch.Generator().manual_seed(0))
    assert bool((found != labels[rows]).all())
    shares = torch.bincount(labels[rows], minlength=3) / 9000
    assert shares.tolist() == pytest.approx([8 / 9, 1 / 9, 0], abs=0.02)


def test_labels_are_planted_blindly_where_none_seems_wrong() -> None:
    opinion = torch.full((3000, 3), 1 / 3, dtype=torch.float64)
    rows, found = plant(opinion, torch.arange(3000) % 3, 0.0, torch.eye(3).double(), 9000, torch.Generator())
    assert torch.bincount((rows % 3) * 3 + found, minlength=9).tolist() == pytest.approx(
        [0, 1500, 1500, 1500, 0, 1500, 1500, 1500, 0], abs=150
    )


def test_alike_labels_are_planted_more_often_the_more_likeness_counts() -> None:
    labels = torch.zeros(4000, dtype=torch.int64)
    opinion = torch.tensor([[0.7, 0.29, 0.01]], dtype=torch.float64).expand(4000, 3)
    spread = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    shares = [
        float((plant(opinion, labels, r, spread, 4000, torch.Generator().manual_seed(0))[1] == 1).double().mean())
        for r in (0.0, 0.5, 1.0)
    ]
    assert shares == pytest.approx([0.5, 0.843, 0.967], abs=0.03)


def test_a_mixture_of_scores_is_taken_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    wrong = torch.randn(3000, generator=generator, dtype=torch.float64) - 6
    right = torch.randn(7000, generator=generator, dtype=torch.float64) + 6
    planted = torch.randn(20_000, generator=generator, dtype=torch.float64) - 6
    scores = torch.cat([wrong, right])
    assert share_wrong(scores, planted, 0.5) == pytest.approx(0.3, abs=0.02)
    chances = chance_wrong(scores, planted, 0.3)
    assert float(chances[:3000].mean()) > 0.97 and float(chances[3000:].mean()) < 0.01


def test_the_chance_of_being_wrong_never_rises_with_the_score(make_blobs) -> None:
    data = make_blobs(width=2.0)
    found = quality(opinion_of(data), data.given)
    scores = log_odds(found.opinion, data.given)
    found = found.label_quality[scores.argsort()]
    assert bool((found.diff() >= -1e-12).all()) and 0 <= float(found.min()) <= float(found.max()) <= 1


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_qualities_keep_their_promise_and_the_number_of_wrong_labels_is_in_range(make_blobs, rate: float) -> None:
    data = make_blobs(n=3000, rate=rate, seed=7)
    found = quality(opinion_of(data), data.given)
    estimate, low, high = found.wrong
    assert low <= int(data.wrong.sum()) <= high and low <= estimate <= high
    order = found.label_quality.argsort()
    for part in order.tensor_split(10):
        assert float(found.label_quality[part].mean()) == pytest.approx(
            float((~data.wrong[part]).double().mean()), abs=0.15
        )


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_wrong_labels_of_some_classes_in_one_direction_are_found_and_counted(make_blobs, rate: float) -> None:
    """Classes 0 and 2 lose labels to 1 and 3, which keep theirs: 5 % and 15 % of all are wrong."""
    data = make_blobs(n=2000, rate=0.0, seed=4)
    hit = (data.true % 2 == 0) & (torch.rand(2000, generator=torch.Generator().manual_seed(0)) < rate)
    given = torch.where(hit, data.true + 1, data.true)
    found = quality(Outside(standardised(data.vectors), given, 4, 0).opinion(), given)
    assert found.wrong[0] == pytest.approx(int(hit.sum()), rel=0.35)
    flagged = found.label_quality < 0.5
    assert float(flagged[hit].double().mean()) > 0.6 and float(flagged[~hit].double().mean()) < 0.05


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_right_labels_at_most_two_in_a_hundred_are_called_wrong(make_blobs, width: float, seed: int) -> None:
    data = make_blobs(n=1000, rate=0.0, seed=seed, width=width)
    assert float((quality(opinion_of(data), data.given).label_quality < 0.5).double().mean()) <= 0.02


@pytest.mark.parametrize("width", [8.0, 12.0])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_where_labels_are_hardly_foretold_hardly_a_right_one_is_called_wrong(make_blobs, num_classes, width) -> None:
    """As far as nobody knows better, the upper end is the answer; the estimate is the lower one."""
    hardly = 0
    for seed in range(4):
        data = make_blobs(n=1000, rate=0.0, seed=seed, num_classes=num_classes, width=width)
        opinion = opinion_of(data, num_classes)
        if kappa(opinion, data.given) < 0.4:
            hardly += 1
            found = quality(opinion, data.given)
            assert found.wrong[0] == found.wrong[1] < found.wrong[2]
            assert float((found.label_quality < 0.5).double().mean()) <= 0.02
    assert hardly >= 2


def test_nobody_is_believed_where_no_label_is_foretold() -> None:
    opinion = torch.tensor([[0.9, 0.1]] * 10, dtype=torch.float64)
    found = quality(opinion, torch.ones(10, dtype=torch.int64))
    assert found.wrong == (5.0, 0.0, 10.0) and bool((found.label_quality == 0.5).all())
