import pytest
import torch

from nlcore.methods import tssd
from nlcore.methods.tssd import TSSDConfig, msp, psd
from nlcore.selection import purification
from nlcore.selection.division import Snapshot
from nlcore.selection.purification import (
    drawn,
    fit_meta_classifier,
    likely_other_label,
    meta_features,
    purification_score,
    random_other_label,
)


def test_one_sample_looks_different_under_another_given_label(rng):
    features, means = torch.rand(1, 5, generator=rng), torch.rand(3, 5, generator=rng)
    probs = torch.tensor([[0.7, 0.2, 0.1]])
    for scalars in (True, False):
        under = [meta_features(features, probs, torch.tensor([label]), means, scalars) for label in range(3)]
        assert not torch.allclose(under[0], under[1]) and not torch.allclose(under[1], under[2])


def test_the_description_of_one_sample_by_hand():
    """Feature (3, 4) points to (.6, .8); its label's class mean to (1, 0), the other class's to (0, 1)."""
    row = meta_features(
        torch.tensor([[3.0, 4.0]]),
        torch.tensor([[0.25, 0.75]]),
        torch.tensor([0]),
        torch.tensor([[2.0, 0.0], [0.0, 5.0]]),
    )
    entropy = 0.25 * 1.3862944 + 0.75 * 0.2876821
    expected = torch.tensor([[0.6, 0.0, 0.25, 0.75, entropy, 1.3862944, 0.6, 0.6 - 0.8]])
    torch.testing.assert_close(row, expected)


def test_without_scalars_only_the_products_are_left(rng):
    arguments = torch.rand(6, 5, generator=rng), torch.full((6, 3), 1 / 3), torch.arange(6) % 3, torch.eye(3, 5)
    assert torch.equal(meta_features(*arguments, scalars=False), meta_features(*arguments)[:, :5])


def test_synthetic_labels_are_never_the_given_ones_and_every_other_one_occurs(rng):
    labels = torch.arange(4000) % 4
    other = random_other_label(labels, 4, rng)
    assert not (other == labels).any()
    counts = torch.bincount(labels * 4 + other, minlength=16).view(4, 4)
    assert (counts.fill_diagonal_(333) - 333).abs().max() < 80  # 1000 draws among three: five standard deviations


def test_likely_wrong_labels_are_drawn_as_the_transition_says(rng):
    transition = torch.tensor([[0.4, 0.45, 0.15], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    labels = torch.arange(3).repeat_interleave(4000)
    other = likely_other_label(labels, transition, rng)
    share = torch.bincount(labels * 3 + other, minlength=9).view(3, 3) / 4000
    # Without the diagonal; class 1 never goes wrong and gets either of the others.
    expected = torch.tensor([[0.0, 0.75, 0.25], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(share, expected, atol=0.04, rtol=0)  # five standard deviations
    assert transition[0, 0] == 0.4  # the caller's is left as it was


def test_two_classes_leave_one_other_label(rng):
    assert random_other_label(torch.tensor([0, 1, 1]), 2, rng).tolist() == [1, 0, 0]


def test_a_meta_classifier_tells_separable_examples_apart(rng, unchanged_global_state):
    clean, noisy = torch.randn(400, 8, generator=rng) + 1.5, torch.randn(300, 8, generator=rng) - 1.5
    with unchanged_global_state():
        classifier, auc = fit_meta_classifier(clean, noisy, 10, rng)
    assert auc > 0.99
    scores = purification_score(classifier, torch.cat([clean, noisy]))
    assert scores.min() >= 0 and scores.max() <= 1
    assert (scores[:400] > 0.5).float().mean() > 0.95 and (scores[400:] < 0.5).float().mean() > 0.95


def test_many_examples_make_larger_batches_not_more_steps(rng, monkeypatch):
    """32 steps a pass at most, so that mining does not grow with the data; few examples keep batches of 256."""
    steps = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: steps.append(step(self)))
    for n, expected in ((1000, 8), (9000, 32)):  # of 2 n examples a tenth is held out
        steps.clear()
        fit_meta_classifier(torch.randn(n, 2, generator=rng), torch.randn(n, 2, generator=rng), 1, rng)
        assert len(steps) == expected


def test_an_imbalance_of_clean_and_noisy_examples_does_not_move_the_threshold(rng):
    clean, noisy = torch.randn(100, 4, generator=rng), torch.randn(3000, 4, generator=rng)
    classifier, auc = fit_meta_classifier(clean, noisy, 5, rng)  # nothing to learn: both alike
    # Without the weight of the positives all would score near 100 / 3100.
    assert 0.3 < float(purification_score(classifier, torch.randn(500, 4, generator=rng)).median()) < 0.7
    assert auc < 0.8


def test_the_same_generator_state_trains_the_same_classifier(rng):
    clean, noisy = torch.randn(120, 4, generator=rng) + 1, torch.randn(120, 4, generator=rng)
    first, again = (
        purification_score(fit_meta_classifier(clean, noisy, 2, torch.Generator().manual_seed(1))[0], clean)
        for _ in range(2)
    )
    assert torch.equal(first, again)


# -- within the method


@pytest.fixture(scope="module")
def made(make_snapshot):
    return make_snapshot(n=1200, k=4, rate=0.4)


def mine(made, **changes):
    config = TSSDConfig(**changes)
    _, _, positive, negative = psd(made.snapshot, made.given, config)
    return msp(made.snapshot, made.given, positive, negative, config, None, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("meta", ["synthetic", "certain"])
@pytest.mark.parametrize("scalars", [True, False])
def test_the_score_ranks_right_labels_above_wrong_ones(made, meta, scalars):
    score, _ = mine(made, meta=meta, meta_scalars=scalars)
    right = made.given == made.true
    assert ((score > 0.5) == right).float().mean() > 0.95


@pytest.mark.parametrize("meta", ["synthetic", "certain"])
def test_of_a_large_set_some_are_learnt_from_and_all_are_scored(made, meta, monkeypatch):
    whole, _ = mine(made, meta=meta)
    for module in (purification, tssd):
        monkeypatch.setattr(module, "MOST_EXAMPLES", 250)
    score, _ = mine(made, meta=meta)
    assert len(score) == 1200 and score.isfinite().all() and not torch.equal(score, whole)
    assert ((score > 0.5) == (made.given == made.true)).float().mean() > 0.95


def test_drawn_rows_are_members_in_order_each_at_most_once(monkeypatch):
    members = torch.rand(100, generator=torch.Generator().manual_seed(0)) < 0.5
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert drawn(members, generator).tolist() == members.nonzero().flatten().tolist()
    assert torch.equal(
        generator.get_state(), before
    )  # a small set costs no draw: results of small data stay what they were
    monkeypatch.setattr(purification, "MOST_EXAMPLES", 10)
    rows = drawn(members, generator)
    assert len(rows) == 10 and members[rows].all() and rows.tolist() == sorted(set(rows.tolist()))


def test_switched_off_it_scores_nobody(made):
    score, auc = mine(made, meta="off")
    assert score.isnan().all() and auc != auc


def test_a_side_that_is_too_small_mines_nothing(made):
    few = torch.zeros(1200, dtype=torch.bool)
    few[:11] = True  # one below 1 % of 1,200
    many = ~few
    config = TSSDConfig(meta="certain")
    for positive, negative in ((few, many), (many, few)):
        score, auc = msp(made.snapshot, made.given, positive, negative, config, None, torch.Generator())
        assert score.isnan().all() and auc != auc
    few[11] = True
    assert msp(made.snapshot, made.given, few, ~few, config, None, torch.Generator())[0].isfinite().all()


def test_a_golden_set_teaches_what_the_certain_set_would(made, make_snapshot):
    held_out = make_snapshot(n=100, k=4, rate=0.0, seed=1)
    config = TSSDConfig(meta="golden", golden=100, meta_passes=20)
    _, _, positive, negative = psd(made.snapshot, made.given, config)
    score, _ = msp(
        made.snapshot, made.given, positive, negative, config, (held_out.snapshot, held_out.true), torch.Generator()
    )
    assert ((score > 0.5) == (made.given == made.true)).float().mean() > 0.95


def test_the_scores_do_not_depend_on_the_true_labels_of_uncertain_samples(made):
    """A sample with no certain neighbour in the examples is judged by its own description alone."""
    config = TSSDConfig()
    _, _, positive, negative = psd(made.snapshot, made.given, config)
    swapped = made.given.clone()
    swapped[0] = (swapped[0] + 1) % 4
    positive[0] = negative[0] = False
    losses = made.snapshot.losses
    before, after = (
        msp(
            Snapshot(made.snapshot.logits, made.snapshot.features, losses),
            g,
            positive,
            negative,
            config,
            None,
            torch.Generator().manual_seed(0),
        )[0]
        for g in (made.given, swapped)
    )
    assert torch.equal(before[1:], after[1:]) and before[0] != after[0]
