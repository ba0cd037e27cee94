import math
from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nlcore.training.mixmatch import SSLConfig, batches, mix, mixmatch_step, rampup, refine_targets, sharpen, ssl_loss


def test_sharpening_at_one_half_squares_and_renormalises():
    result = sharpen(torch.tensor([[0.6, 0.3, 0.1]]), 0.5)
    torch.testing.assert_close(result, torch.tensor([[36 / 46, 9 / 46, 1 / 46]]))


def test_temperature_one_leaves_a_distribution_and_a_certain_one_stays_certain():
    probs = torch.tensor([[0.6, 0.3, 0.1], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(sharpen(probs, 1.0), probs)
    torch.testing.assert_close(sharpen(probs, 0.5)[1], probs[1])


def test_refined_targets_by_hand():
    """w = .5: .5 (0, 1) + .5 (.8, .2) = (.4, .6), squared (.16, .36); w = 1 keeps the label, w = 0 the opinion."""
    probs = torch.tensor([[0.8, 0.2]] * 3)
    result = refine_targets(torch.tensor([1, 1, 1]), torch.tensor([0.5, 1.0, 0.0]), probs, 0.5)
    expected = torch.tensor([[0.16 / 0.52, 0.36 / 0.52], [0.0, 1.0], [0.64 / 0.68, 0.04 / 0.68]])
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("lam", [0.75, 0.25])
def test_mixing_keeps_the_larger_share_for_the_sample_itself(lam):
    inputs, targets = torch.tensor([[0.0], [4.0], [8.0]]), torch.eye(3)
    mixed, mixed_targets = mix(inputs, targets, lam, torch.tensor([2, 1, 0]))
    assert mixed.tolist() == [[2.0], [4.0], [6.0]]
    assert mixed_targets.tolist() == [[0.75, 0.0, 0.25], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]]


# -- the loss on two rows, the first labelled: probabilities (.5, .5) and (.75, .25)

LOGITS = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
TARGETS = torch.tensor([[1.0, 0.0], [0.5, 0.5]])


def test_the_labelled_part_is_a_soft_cross_entropy():
    assert float(ssl_loss(LOGITS, TARGETS, 1, 0.0, 0.0, "squared")) == pytest.approx(math.log(2))


def test_the_unlabelled_part_is_a_mean_squared_error_of_probabilities():
    expected = math.log(2) + 10 * (0.25**2 + 0.25**2) / 2
    assert float(ssl_loss(LOGITS, TARGETS, 1, 10.0, 0.0, "squared")) == pytest.approx(expected, abs=1e-6)


def test_or_a_soft_cross_entropy():
    expected = math.log(2) + 10 * -(0.5 * math.log(0.75) + 0.5 * math.log(0.25))
    assert float(ssl_loss(LOGITS, TARGETS, 1, 10.0, 0.0, "cross_entropy")) == pytest.approx(expected, abs=1e-5)


def test_the_regulariser_compares_the_mean_prediction_of_all_rows_with_uniform():
    mean = (0.625, 0.375)
    penalty = sum(0.5 * math.log(0.5 / p) for p in mean)
    assert float(ssl_loss(LOGITS, TARGETS, 1, 0.0, 3.0, "squared")) == pytest.approx(
        math.log(2) + 3 * penalty, abs=1e-6
    )
    even = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert float(ssl_loss(even, TARGETS, 2, 0.0, 1.0, "squared") - ssl_loss(even, TARGETS, 2, 0.0, 0.0, "squared")) == (
        pytest.approx(0, abs=1e-6)
    )


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
def test_without_unlabelled_rows_the_labelled_part_is_left(kind):
    assert float(ssl_loss(LOGITS[:1], TARGETS[:1], 1, 25.0, 0.0, kind)) == pytest.approx(math.log(2))


def test_the_unlabelled_weight_grows_linearly_and_stays():
    config = SSLConfig(lam_u=20.0, rampup_epochs=4)
    assert [rampup(epoch, config) for epoch in range(6)] == [0.0, 5.0, 10.0, 15.0, 20.0, 20.0]
    assert rampup(0, SSLConfig(lam_u=20.0, rampup_epochs=0)) == 20.0


# -- batches


@given(n=st.integers(1, 50), size=st.integers(1, 20), seed=st.integers(0, 99))
def test_full_batches_are_never_short_and_take_each_index_equally_often(n, size, seed):
    index = torch.arange(100, 100 + n)
    steps = 2 * n  # n * size * 2 entries: exactly 2 * size whole permutations
    made = list(batches(index, size, steps, True, torch.Generator().manual_seed(seed)))
    assert len(made) == steps and all(len(batch) == size for batch in made)
    assert Counter(torch.cat(made).tolist()) == dict.fromkeys(index.tolist(), 2 * size)


def test_ragged_batches_end_each_permutation_in_what_is_left(rng):
    index = torch.arange(10)
    made = list(batches(index, 4, 6, False, rng))
    assert [len(batch) for batch in made] == [4, 4, 2, 4, 4, 2]
    assert sorted(torch.cat(made[:3]).tolist()) == sorted(torch.cat(made[3:]).tolist()) == index.tolist()
    assert torch.cat(made[:3]).tolist() != torch.cat(made[3:]).tolist()


def test_batches_of_a_seed_repeat():
    first, again = (
        torch.cat(list(batches(torch.arange(30), 8, 9, True, torch.Generator().manual_seed(2)))) for _ in range(2)
    )
    assert torch.equal(first, again)


def test_no_step_makes_no_batch(rng):
    assert list(islice(batches(torch.arange(0), 8, 0, True, rng), 1)) == []


# -- one whole step, with networks that only look their images up


class Lookup(torch.nn.Module):
    """Image of value v -> logits `table[v]`; remembers what it saw."""

    def __init__(self, table):
        super().__init__()
        self.table, self.seen = torch.nn.Parameter(torch.tensor(table)), []

    def forward(self, images):
        self.seen.append(images.detach().flatten())
        return images.flatten()[:, None] * self.table[0] + self.table[1], None


def test_one_step_by_hand(rng):
    """Without mixing (lambda = 1): one labelled image 0, one unlabelled image 1, a view each."""
    teacher = Lookup([[math.log(3), 0.0], [0.0, 0.0]])  # probabilities (.5, .5) of image 0, (.75, .25) of image 1
    student = Lookup([[0.0, math.log(4)], [0.0, 0.0]])  # (.5, .5) and (.2, .8)
    view = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    config = SSLConfig(temperature=0.5, lam_r=0.0, unlabelled_loss="squared")
    loss = mixmatch_step(
        student, [teacher], [view], [view], torch.tensor([1]), torch.tensor([0.6]), 2.0, 1.0, config, rng
    )
    refined = 0.8**2 / (0.2**2 + 0.8**2)  # .6 onehot + .4 (.5, .5) = (.2, .8)
    guess = 0.75**2 / (0.75**2 + 0.25**2)
    labelled = math.log(2)  # any target costs log 2 under (.5, .5)
    unlabelled = ((0.2 - guess) ** 2 + (0.8 - (1 - guess)) ** 2) / 2
    assert 0.9 < refined < 1 and float(loss.detach()) == pytest.approx(labelled + 2 * unlabelled, abs=1e-5)


def test_only_the_student_gets_a_gradient_and_it_learns_from_the_train_views(rng):
    teacher, student = Lookup([[1.0, 0.0], [0.0, 0.0]]), Lookup([[0.0, 1.0], [0.0, 0.0]])
    weak = [torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1, 1)]
    strong = [torch.full((3, 1, 1, 1), 5.0), torch.full((3, 1, 1, 1), 5.0)]
    loss = mixmatch_step(
        student, [teacher], weak, strong, torch.tensor([0]), torch.tensor([0.5]), 1.0, 0.7, SSLConfig(views=2), rng
    )
    loss.backward()
    assert student.table.grad is not None and teacher.table.grad is None
    assert [seen.tolist() for seen in teacher.seen] == [[0.0] * 3, [1.0] * 3]
    torch.testing.assert_close(student.seen[0], torch.full((6,), 5.0))


def test_labelled_rows_of_all_views_come_first(rng):
    """Two views of one labelled (0, 10) and one unlabelled image (1, 11), unmixed."""
    network = Lookup([[0.0, 0.0], [0.0, 0.0]])
    student = Lookup([[0.0, 0.0], [0.0, 0.0]])
    views = [torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.tensor([10.0, 11.0]).view(2, 1, 1, 1)]
    mixmatch_step(student, [network], views, views, torch.tensor([0]), torch.ones(1), 1.0, 1.0, SSLConfig(), rng)
    assert student.seen[0].tolist() == [0.0, 10.0, 1.0, 11.0]


def test_of_two_teachers_both_guess_and_only_the_own_one_refines(rng):
    """One labelled image 0 and one unlabelled image 1, two views: the second view doubles the values."""
    log3, log2 = math.log(3), math.log(2)
    own = Lookup([[log3, 0.0], [0.0, 0.0]])  # (.5, .5) of 0; (.75, .25) of 1; (.9, .1) of 2
    other = Lookup([[0.0, log2], [5.0, 0.0]])  # almost sure of class 0 for all three
    student = Lookup([[0.0, math.log(4)], [0.0, log3]])  # (.25, .75) of 0 and (1, 12) / 13 of 1, (1, 48) / 49 of 2
    views = [torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.tensor([0.0, 2.0]).view(2, 1, 1, 1)]
    config = SSLConfig(temperature=0.5, lam_r=0.0, unlabelled_loss="cross_entropy", views=2)
    loss = mixmatch_step(
        student, [own, other], views, views, torch.tensor([1]), torch.tensor([0.6]), 2.0, 1.0, config, rng
    )
    refined = squared(0.4 * 0.5, 0.6 + 0.4 * 0.5)
    own_guess = (0.75 + 0.9) / 2
    other_guess = (1 / (1 + 2 * math.exp(-5)) + 1 / (1 + 4 * math.exp(-5))) / 2
    mean = (own_guess + other_guess) / 2
    guess = squared(mean, 1 - mean)
    labelled = cross_entropy(refined, (1 / 4, 3 / 4))
    unlabelled = (cross_entropy(guess, (1 / 13, 12 / 13)) + cross_entropy(guess, (1 / 49, 48 / 49))) / 2
    assert float(loss.detach()) == pytest.approx(labelled + 2 * unlabelled, abs=1e-5)
    # The other one is not even shown what it has no say in.
    assert [seen.tolist() for seen in other.seen] == [[1.0], [2.0]]
    assert [seen.tolist() for seen in own.seen] == [[0.0, 1.0], [0.0, 2.0]]
    assert own.training and not other.training and student.training


def squared(*probs: float) -> tuple[float, ...]:
    """Sharpened at temperature 1/2."""
    return tuple(p * p / sum(q * q for q in probs) for p in probs)


def cross_entropy(target: tuple[float, ...], probs: tuple[float, ...]) -> float:
    return -sum(t * math.log(p) for t, p in zip(target, probs, strict=True))


def test_neither_teacher_gets_a_gradient(rng):
    own, other, student = (Lookup([[0.5, 0.0], [0.0, 0.0]]) for _ in range(3))
    views = [torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)]
    loss = mixmatch_step(
        student, [own, other], views, views, torch.tensor([0]), torch.ones(1), 1.0, 0.7, SSLConfig(), rng
    )
    loss.backward()
    assert own.table.grad is None and other.table.grad is None and student.table.grad is not None


def test_without_unlabelled_images_two_teachers_are_as_good_as_one(rng):
    view = [torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)]
    losses = []
    for others in ([], [Lookup([[9.0, 0.0], [0.0, 0.0]])]):
        own, student = (Lookup([[0.5, 0.0], [0.0, 0.0]]) for _ in range(2))
        rest = (torch.tensor([0, 1]), torch.ones(2), 1.0, 1.0, SSLConfig(), rng)
        losses.append(float(mixmatch_step(student, [own, *others], view, view, *rest).detach()))
    assert losses[0] == losses[1] and math.isfinite(losses[0])
