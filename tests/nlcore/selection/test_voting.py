import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nlcore.selection import voting
from nlcore.selection.voting import (
    ballots_from_anchors,
    ballots_from_hard,
    centred_unit,
    count_votes,
    estimate_transition,
    majority,
    nearest,
    neighbour_votes,
    own_class_threshold,
    soft_votes,
    surest,
    with_transition,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks smaller than the data, so that their seams are tested too."""
    monkeypatch.setattr(voting, "BLOCK", 7 * 60)


@pytest.fixture
def points(rng):
    """40 hard samples and 60 anchors of 3 classes, all unit vectors, nearly all cosines different."""
    hard, anchors = (F.normalize(torch.randn(n, 5, generator=rng), dim=1) for n in (40, 60))
    return hard, anchors, torch.randint(0, 3, (60,), generator=rng)


def as_lists(chosen, cosines):
    """Per hard sample the anchors that vote, in order, and their cosines."""
    return [
        [(a, pytest.approx(c, abs=1e-5)) for a, c in zip(row, cos, strict=True) if a >= 0]
        for row, cos in zip(chosen.tolist(), cosines.tolist(), strict=True)
    ]


def test_centred_unit_has_length_one_seen_from_the_centre():
    unit = centred_unit(torch.tensor([[4.0, 5.0], [1.0, 0.0]]), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))


@pytest.mark.parametrize("k", [1, 5, 60, 100])
def test_nearest_equals_a_loop_over_queries(points, k):
    hard, anchors, _ = points
    cosines, rows = nearest(hard, anchors, k)
    for i in range(len(hard)):
        ranked = sorted(range(60), key=lambda j: -float(hard[i] @ anchors[j]))[:k]
        assert rows[i].tolist() == ranked
        expected = [float(hard[i] @ anchors[j]) for j in ranked]
        assert cosines[i].tolist() == pytest.approx(expected, abs=1e-5)


def test_nearest_of_no_query_and_among_no_key_is_empty(points):
    hard, anchors, _ = points
    assert nearest(hard[:0], anchors, 3)[1].shape == (0, 3)
    assert nearest(hard, anchors[:0], 3)[1].shape == (40, 0)


@pytest.mark.parametrize("threshold", [-math.inf, 0.5, 0.99])
@pytest.mark.parametrize("k", [1, 3, 60])
def test_each_anchor_speaks_for_its_nearest_hard_sample_if_similar_enough(points, threshold, k):
    hard, anchors, _ = points
    hard = hard[:9]  # so that several anchors meet at one sample
    heard = [[] for _ in hard]
    for a in range(len(anchors)):
        cosines = [float(anchors[a] @ h) for h in hard]
        at = max(range(len(hard)), key=cosines.__getitem__)
        if cosines[at] > threshold:
            heard[at].append((a, cosines[at]))
    expected = [sorted(row, key=lambda v: -v[1])[:k] for row in heard]
    chosen, cosines = ballots_from_anchors(hard, anchors, threshold, k)
    assert chosen.shape == cosines.shape == (9, k)
    assert as_lists(chosen, cosines) == expected
    assert ((chosen < 0) == cosines.isneginf()).all()


@pytest.mark.parametrize("threshold", [-math.inf, 0.5, 0.99])
@pytest.mark.parametrize("k", [1, 4])
def test_each_hard_sample_asks_its_nearest_anchors_if_similar_enough(points, threshold, k):
    hard, anchors, _ = points
    expected = []
    for h in hard:
        ranked = sorted(((a, float(h @ anchors[a])) for a in range(60)), key=lambda v: -v[1])[:k]
        expected.append([(a, c) for a, c in ranked if c > threshold])
    assert as_lists(*ballots_from_hard(hard, anchors, threshold, k)) == expected


@pytest.mark.parametrize("ballots", [ballots_from_anchors, ballots_from_hard])
def test_no_hard_sample_or_no_anchor_gives_no_vote(points, ballots):
    hard, anchors, labels = points
    chosen, _ = ballots(hard[:0], anchors, 0.0, 3)
    assert chosen.shape == (0, 3)
    chosen, cosines = ballots(hard, anchors[:0], 0.0, 3)
    assert not (chosen >= 0).any()
    assert count_votes(chosen, labels[:0], 3).tolist() == [[0, 0, 0]] * 40
    torch.testing.assert_close(soft_votes(chosen, cosines, labels[:0], 3, 0.1), torch.full((40, 3), 1 / 3))


def test_equal_cosines_lose_no_vote():
    hard = torch.eye(2)
    anchors = hard[[0, 0, 0, 1]]
    chosen, _ = ballots_from_anchors(hard, anchors, 0.5, 2)
    assert set(chosen[0].tolist()) < {0, 1, 2} and len(set(chosen[0].tolist())) == 2
    assert chosen[1].tolist() == [3, -1]


def test_the_threshold_is_the_median_of_the_kth_best_cosines_to_own_anchors(points):
    easy, anchors, anchor_labels = points
    easy_labels = torch.arange(40) % 4  # class 3 has no anchor and is left out
    for k in (1, 3, 50):
        kth = []
        for e, y in zip(easy, easy_labels.tolist(), strict=True):
            own = sorted((float(e @ a) for a, c in zip(anchors, anchor_labels.tolist(), strict=True) if c == y))[::-1]
            kth += [own[min(k, len(own)) - 1]] if own else []
        expected = sorted(kth)[(len(kth) - 1) // 2]  # the lower median
        assert own_class_threshold(easy, easy_labels, anchors, anchor_labels, k) == pytest.approx(expected, abs=1e-5)


def test_without_own_anchors_the_threshold_lets_nobody_vote(points):
    easy, anchors, _ = points
    labels = torch.zeros(40, dtype=torch.int64)
    threshold = own_class_threshold(easy, labels, anchors, torch.ones(60, dtype=torch.int64), 3)
    assert not (ballots_from_hard(easy, anchors, threshold, 3)[0] >= 0).any()


def test_votes_are_counted_as_in_a_loop(rng):
    chosen = torch.randint(-1, 20, (30, 6), generator=rng)
    labels = torch.randint(0, 4, (20,), generator=rng)
    expected = [[sum(a >= 0 and int(labels[a]) == c for a in row) for c in range(4)] for row in chosen.tolist()]
    assert count_votes(chosen, labels, 4).tolist() == expected


def test_majority_equals_a_loop_over_rows(rng):
    votes = torch.randint(0, 4, (300, 3), generator=rng).float()  # ties and rows without a vote occur
    label, share, accepted = majority(votes, min_votes=3, min_share=0.6)
    seen = set()
    for row, y, s, ok in zip(votes.tolist(), label.tolist(), share.tolist(), accepted.tolist(), strict=True):
        total, top = sum(row), max(row)
        unique = row.count(top) == 1
        expected = total >= 3 and top / total >= 0.6 and unique
        seen.add((total == 0, unique, expected))
        assert ok == expected and row[y] == top and s == pytest.approx(top / total if total else 0)
    assert {(True, False, False), (False, False, False), (False, True, False), (False, True, True)} == seen


def test_a_tie_is_never_accepted_and_neither_is_silence():
    _, _, accepted = majority(torch.tensor([[5.0, 5.0, 0.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]), 0, 0.0)
    assert accepted.tolist() == [False, False, True]


def test_soft_votes_equal_a_loop_and_are_uniform_without_a_voter(points):
    hard, anchors, labels = points
    chosen, cosines = ballots_from_hard(hard, anchors, 0.8, 10)
    assert (chosen < 0).all(1).any() and (chosen >= 0).all(1).logical_not().any()
    result = soft_votes(chosen, cosines, labels, 3, temperature=0.2)
    for row, cos, votes in zip(chosen.tolist(), cosines.tolist(), result.tolist(), strict=True):
        weight = [0.0, 0.0, 0.0]
        for a, c in zip(row, cos, strict=True):
            if a >= 0:
                weight[int(labels[a])] += math.exp(c / 0.2)
        total = sum(weight)
        assert votes == pytest.approx([w / total for w in weight] if total else [1 / 3] * 3, abs=1e-5)


def test_the_transition_equals_a_loop_over_samples(rng):
    logits, given = (
        torch.randn(50, 4, generator=rng, dtype=torch.float64) * 2,
        torch.randint(0, 4, (50,), generator=rng),
    )
    prior = [given.tolist().count(c) / 50 for c in range(4)]
    T, mass = np.zeros((4, 4)), np.zeros(4)
    for row, k in zip(logits.tolist(), given.tolist(), strict=True):
        p = np.exp([z - math.log(q) for z, q in zip(row, prior, strict=True)])
        p /= p.sum()
        T[:, k] += p
        mass += p
    np.testing.assert_allclose(estimate_transition(logits, given), T / mass[:, None], atol=1e-6)


def test_the_transition_of_a_sure_network_is_the_realised_one(make_dataset):
    from nlcore import corrupt

    noisy = corrupt(make_dataset(5000, 5), "pairflip", 0.3, 0)
    logits = 30 * F.one_hot(noisy.true_labels, 5).float()
    np.testing.assert_allclose(estimate_transition(logits, noisy.given_labels), noisy.transition_matrix, atol=1e-3)


def test_transition_rows_sum_to_one_even_if_a_label_never_occurs(rng):
    T = estimate_transition(torch.randn(40, 4, generator=rng), torch.randint(0, 3, (40,), generator=rng))
    torch.testing.assert_close(T.sum(1), torch.ones(4))
    assert (T[:, 3] == 0).all()


def test_votes_times_transition_by_hand():
    """Class 1 rarely gets the label 0: an even vote on a sample given 0 goes to class 0, nine to one."""
    T = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    posterior = with_transition(torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]), T, torch.tensor([0, 1, 0]))
    torch.testing.assert_close(posterior, torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]))


def test_the_transition_is_read_from_true_class_to_given_label():
    T = torch.tensor([[1.0, 0.0], [0.25, 0.75]])  # true class 1 is given 0 in a quarter of the cases; never the reverse
    posterior = with_transition(torch.tensor([[0.5, 0.5], [0.5, 0.5]]), T, torch.tensor([0, 1]))
    torch.testing.assert_close(posterior, torch.tensor([[0.8, 0.2], [0.0, 1.0]]))


def test_the_surest_verdicts_are_as_many_as_keep_the_mean_share_at_the_level(rng):
    share, accepted = torch.rand(40, generator=rng), torch.rand(40, generator=rng) < 0.6
    ranked = sorted((i for i in range(40) if accepted[i]), key=lambda i: -float(share[i]))
    for level in (0.0, 0.6, 0.8, 2.0):
        means = [float(share[ranked[:m]].mean()) for m in range(1, len(ranked) + 1)]
        expected = ranked[: sum(mean >= level for mean in means)]  # the mean of the first m falls with m
        assert surest(share, accepted, level).nonzero().flatten().tolist() == sorted(expected)


def test_no_search_makes_a_tensor_of_all_samples_times_all_anchors(rng, largest_tensor, monkeypatch):
    monkeypatch.setattr(voting, "BLOCK", 64 * 4000)
    n, m, d, k = 3000, 4000, 8, 10
    hard, anchors = (F.normalize(torch.randn(size, d, generator=rng), dim=1) for size in (n, m))
    labels, hard_labels = torch.arange(m) % 5, torch.arange(n) % 5
    with largest_tensor() as made:
        for ballots in (ballots_from_anchors, ballots_from_hard):
            chosen, cosines = ballots(hard, anchors, 0.0, k)
            count_votes(chosen, labels, 5)
            soft_votes(chosen, cosines, labels, 5, 0.1)
        own_class_threshold(hard, hard_labels, anchors, labels, k)
    assert 0 < made.numel <= max(64 * m, n * k, m * d)


@pytest.mark.parametrize("k", [1, 7, 100])
def test_votes_of_the_neighbours_equal_a_loop_over_samples(points, k):
    _, unit, labels = points
    votes = neighbour_votes(unit, labels, 3, k)
    for i in range(60):
        ranked = sorted(range(60), key=lambda j: -float(unit[i] @ unit[j]))[:k]
        assert ranked[0] == i  # a sample votes on itself
        shares = [sum(int(labels[j]) == c for j in ranked) / len(ranked) for c in range(3)]
        assert votes[i].tolist() == pytest.approx(shares)


def test_some_samples_alone_may_vote(rng):
    unit, labels = F.normalize(torch.randn(60, 5, generator=rng), dim=1), torch.randint(3, (60,), generator=rng)
    voters = torch.tensor([3, 8, 20, 21, 40, 55, 59])
    votes = neighbour_votes(unit, labels, 3, 4, voters)
    for i in range(60):
        ranked = sorted(voters.tolist(), key=lambda j: -float(unit[i] @ unit[j]))[:4]
        assert votes[i].tolist() == pytest.approx([sum(int(labels[j]) == c for j in ranked) / 4 for c in range(3)])


def test_votes_of_the_neighbours_need_memory_for_a_block_alone(rng, monkeypatch, largest_tensor):
    monkeypatch.setattr(voting, "BLOCK", 20_000)
    unit, labels = F.normalize(torch.randn(2000, 5, generator=rng), dim=1), torch.arange(2000) % 4
    with largest_tensor() as made:
        neighbour_votes(unit, labels, 4, 200)
    assert made.numel <= 20_000
