"""Evidence: each opinion against a slow version of itself, and none of them from the label that is judged."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from nlcore.audit import evidence
from nlcore.audit.evidence import (
    FOLDS,
    Outside,
    best_by_direction,
    directions,
    folds,
    given_label_prob,
    judged,
    kappa,
    mixture_share,
    nearest_others,
    neighbour_votes,
    out_of_fold,
    some,
    standardised,
)


def test_columns_are_standardised_and_a_constant_one_becomes_zero() -> None:
    vectors = torch.tensor([[1.0, 1e6, 3.0], [3.0, 1e6, 5.0], [5.0, 1e6, 10.0]])
    found = standardised(vectors)
    assert torch.allclose(found.mean(0), torch.zeros(3), atol=1e-6)
    assert torch.allclose(found.std(0, correction=0), torch.tensor([1.0, 0.0, 1.0]), atol=1e-6)


def texts(n: int = 600, num_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors as of texts of all lengths: three large columns say what each is about, and forty small ones nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % num_classes
    about = 3 * F.one_hot(labels, 3) + 0.8 * torch.randn(n, 3, generator=generator)
    small = 0.1 * torch.randn(n, 40, generator=generator)
    return torch.cat([about, small], 1) * torch.rand(n, 1, generator=generator).exp(), labels


def test_neighbours_by_direction_are_those_of_the_largest_cosine() -> None:
    vectors, _ = texts(200)
    view = directions(vectors)
    assert float(view.square().mean()) == pytest.approx(1) and torch.allclose(view.mean(0), torch.zeros(43), atol=1e-5)
    cosines = F.cosine_similarity(vectors[:, None], vectors[None], dim=2).fill_diagonal_(-2)
    assert torch.equal(nearest_others(view, torch.arange(200), 3), cosines.topk(3).indices)


def test_texts_are_compared_by_direction_and_tables_by_column() -> None:
    vectors, labels = texts()
    generator = torch.Generator().manual_seed(1)
    given = torch.where(
        torch.rand(600, generator=generator) < 0.3, torch.randint(3, (600,), generator=generator), labels
    )
    assert best_by_direction(vectors, labels, 3, 0) and best_by_direction(vectors, given, 3, 0)
    table = vectors.clone()
    table[:, 3:] *= 1000  # in grams, not kilograms
    assert not best_by_direction(table, labels, 3, 0)
    assert not best_by_direction(torch.randn(600, 5, generator=generator), labels, 3, 0)


def test_the_nearest_others_are_those_that_a_loop_finds(noisy) -> None:
    vectors, voters = noisy.vectors[:80], torch.arange(0, 80, 2)
    found = nearest_others(vectors, voters, 5)
    for row in range(80):
        others = [int(v) for v in voters if int(v) != row]
        others.sort(key=lambda v: float((vectors[row] - vectors[v]).norm()))
        assert found[row].tolist() == others[:5]


def test_blocks_of_samples_find_the_same_neighbours(noisy, monkeypatch) -> None:
    whole = nearest_others(noisy.vectors, torch.arange(600), 7)
    monkeypatch.setattr(evidence, "BLOCK", 6000)
    assert torch.equal(nearest_others(noisy.vectors, torch.arange(600), 7), whole)


def test_votes_are_counted_with_one_vote_of_the_classes_as_they_occur() -> None:
    labels = torch.tensor([0, 1, 1, 1])
    found = neighbour_votes(torch.tensor([[1, 2], [0, 3]]), labels, 2)
    assert torch.allclose(found, torch.tensor([[0.25 / 3, 2.75 / 3], [1.25 / 3, 1.75 / 3]], dtype=torch.float64))
    silent = neighbour_votes(torch.tensor([[1, 2]]), labels, 2, torch.tensor([True, False, True, True]))
    assert torch.allclose(silent, torch.tensor([[0.25 / 2, 1.75 / 2]], dtype=torch.float64))


def test_every_class_is_spread_evenly_over_the_folds() -> None:
    labels = torch.tensor([0] * 41 + [1] * 8 + [2] * 3)
    fold = folds(labels, 3, FOLDS, seed=1)
    for k, least in ((0, 10), (1, 2), (2, 0)):
        counts = torch.bincount(fold[labels == k], minlength=FOLDS)
        assert counts.min() >= least and counts.max() <= least + 1


@pytest.mark.parametrize(("strength", "count"), [(1e-3, FOLDS), (0.1, 10), (1.0, FOLDS)])
def test_probabilities_are_those_of_a_classifier_that_learnt_the_other_folds(noisy, strength: float, count) -> None:
    vectors, labels = standardised(noisy.vectors), noisy.given
    found = out_of_fold(vectors, labels, 4, strength, seed=3, count=count)
    fold = folds(labels, 4, count, 3)
    for number in range(count):
        inside, outside = (fold != number).numpy(), (fold == number).numpy()
        model = LogisticRegression(C=strength, max_iter=1000, tol=1e-8)
        model.fit(vectors.double().numpy()[inside], labels.numpy()[inside])
        assert np.allclose(found.numpy()[outside], model.predict_proba(vectors.numpy()[outside]), atol=2e-2)


def test_a_label_that_does_not_vote_is_not_learnt(noisy) -> None:
    """All labels of class 3 without a vote: nobody foretells class 3 any more."""
    votes = noisy.given != 3
    outside = Outside(standardised(noisy.vectors), noisy.given, 4, 0)
    assert float(outside.opinion()[:, 3].max()) > 0.9
    assert float(outside.opinion(votes)[:, 3].max()) < 0.25


def test_few_samples_are_asked_about_in_more_folds(noisy, monkeypatch) -> None:
    asked = []

    def spy(vectors, labels, *others):
        asked.append(len(labels))
        return evidence_classifier(vectors, labels, *others)

    evidence_classifier = evidence.linear_classifier
    monkeypatch.setattr(evidence, "linear_classifier", spy)
    outside = Outside(standardised(noisy.vectors), noisy.given, 4, 0)
    for few, folds_expected in ((600, 10), (599, FOLDS)):
        monkeypatch.setattr(evidence, "FEW", few)
        asked.clear()
        outside.opinion()
        assert len(asked) == folds_expected and sum(asked) == 600 * (folds_expected - 1)


def test_a_class_in_one_fold_alone_is_allowed() -> None:
    labels = torch.tensor([0] * 20 + [1] * 20 + [2])
    vectors = torch.randn(41, 3, generator=torch.Generator().manual_seed(0))
    probs = out_of_fold(vectors, labels, 3, 1.0, 0)
    assert torch.allclose(probs.sum(1), torch.ones(41, dtype=torch.float64))


def test_the_share_of_a_mixture_is_the_most_probable_one() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(200, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    first, second = first / first.sum(1, keepdim=True), second / second.sum(1, keepdim=True)
    labels = torch.randint(3, (200,), generator=generator)
    grid = np.linspace(0, 1, 2001)
    logs = [float(given_label_prob(w * first + (1 - w) * second, labels).log().sum()) for w in grid]
    assert mixture_share(first, second, labels) == pytest.approx(grid[int(np.argmax(logs))], abs=0.02)


def test_a_useless_network_does_not_spoil_the_opinion(noisy) -> None:
    outside = Outside(standardised(noisy.vectors), noisy.given, 4, 0)
    useless = torch.rand(600, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    useless /= useless.sum(1, keepdim=True)
    opinion = judged(outside, useless)
    assert torch.allclose(opinion.sum(1), torch.ones(600, dtype=torch.float64))
    assert roc_auc_score(noisy.wrong, -given_label_prob(opinion, noisy.given)) > 0.97


def test_some_rows_are_drawn_once_each_and_in_order() -> None:
    assert some(5, 9, 0).tolist() == [0, 1, 2, 3, 4]
    drawn = some(1000, 50, 0)
    assert len(drawn.unique()) == 50 and bool((drawn.diff() > 0).all())


def test_kappa_is_agreement_beyond_chance() -> None:
    opinion = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 0, 0, 1])]
    assert kappa(opinion, torch.tensor([0, 0, 1, 1])) == pytest.approx((0.75 - 0.5) / 0.5)
    assert kappa(opinion, torch.tensor([0, 0, 0, 1])) == 1


@pytest.mark.parametrize("best", [0, 1, 2])
def test_where_labels_are_hardly_foretold_the_best_opinion_gets_half_of_the_say(noisy, monkeypatch, best: int) -> None:
    alone = [torch.full((600, 4), 0.25, dtype=torch.float64)] * 3
    alone[best] = 0.1 + 0.6 * F.one_hot(noisy.given, 4)
    monkeypatch.setattr(Outside, "alone", lambda self, votes=None: tuple(alone[:2]))
    outside = Outside(standardised(noisy.vectors), noisy.given, 4, 0)
    monkeypatch.setattr(evidence, "HOPELESS", -2.0)
    together = judged(outside, alone[2])
    monkeypatch.setattr(evidence, "HOPELESS", 2.0)
    torch.testing.assert_close(judged(outside, alone[2]), (together + alone[best]) / 2)


def test_how_well_labels_are_foretold_is_the_mean_logarithm_of_their_probabilities() -> None:
    opinion = torch.tensor([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    wanted = (np.log(0.9) + np.log(0.5) + np.log(1e-3)) / 3
    assert evidence.foretold(opinion, torch.tensor([0, 1, 1])) == pytest.approx(wanted)


def test_of_hopeless_labels_no_opinion_is_lost(noisy) -> None:
    """Labels drawn blindly: whatever is said is a probability still."""
    given = noisy.given[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    outside = Outside(standardised(noisy.vectors), given, 4, 0)
    found = judged(outside, torch.full((600, 4), 0.25, dtype=torch.float64))
    assert kappa(found, given) < 0.4
    torch.testing.assert_close(found.sum(1), torch.ones(600, dtype=torch.float64))
