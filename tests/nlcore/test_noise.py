import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import truncnorm

from nlcore import InputError, corrupt
from nlcore.datasets import CIFAR100_CLASSES
from nlcore.noise import ASYMMETRIC_PAIRS, CIFAR100_SUPERCLASS, idn_xia_probabilities, realised_transition

KINDS = ("symmetric", "asymmetric", "pairflip", "idn_xia")
any_kind = st.sampled_from(KINDS)
any_rate = st.floats(0.01, 0.95)
any_seed = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def tens(make_dataset):
    """400 images of ten classes, named so that asymmetric noise knows the pairs."""
    return make_dataset(400, 10, name="digits")


# -- what holds for every kind


@given(kind=any_kind, rate=st.floats(0, 0.95), seed=any_seed)
def test_given_labels_are_class_numbers_and_true_labels_stay_as_they_were(tens, kind, rate, seed):
    before = tens.train_labels.clone()
    noisy = corrupt(tens, kind, rate, seed)
    assert noisy.given_labels.shape == before.shape and noisy.given_labels.dtype == torch.int64
    assert noisy.given_labels.min() >= 0 and noisy.given_labels.max() < 10
    assert torch.equal(noisy.true_labels, before) and torch.equal(tens.train_labels, before)


@given(kind=any_kind, rate=any_rate, seed=any_seed)
def test_the_transition_matrix_and_the_rate_are_the_realised_ones(tens, kind, rate, seed):
    noisy = corrupt(tens, kind, rate, seed)
    matrix = np.zeros((10, 10))
    for true, label in zip(noisy.true_labels.tolist(), noisy.given_labels.tolist(), strict=True):
        matrix[true, label] += 1
    matrix /= matrix.sum(1, keepdims=True)
    np.testing.assert_allclose(noisy.transition_matrix.numpy(), matrix, atol=1e-12)
    np.testing.assert_allclose(noisy.transition_matrix.sum(1).numpy(), 1)
    assert noisy.rate == pytest.approx(np.mean(noisy.true_labels.numpy() != noisy.given_labels.numpy()))


@given(kind=any_kind, rate=any_rate, seed=any_seed)
def test_the_same_seed_gives_the_same_labels_whatever_the_global_random_state(
    tens, kind, rate, seed, unchanged_global_state
):
    with unchanged_global_state():
        first = corrupt(tens, kind, rate, seed)
    torch.rand(1), np.random.rand()
    assert torch.equal(first.given_labels, corrupt(tens, kind, rate, seed).given_labels)


@given(kind=any_kind, rate=st.floats(0.2, 0.8), seed=any_seed)
def test_another_seed_gives_other_labels(tens, kind, rate, seed):
    assert not torch.equal(
        corrupt(tens, kind, rate, seed).given_labels, corrupt(tens, kind, rate, seed + 1).given_labels
    )


@pytest.mark.parametrize("kind", KINDS)
def test_rate_zero_leaves_every_label_as_it_is(tens, kind):
    noisy = corrupt(tens, kind, 0.0, 0)
    assert torch.equal(noisy.given_labels, tens.train_labels) and noisy.rate == 0
    assert torch.equal(noisy.transition_matrix, torch.eye(10, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_the_identity_tells_kind_rate_seed_and_data(tens, kind):
    words = corrupt(tens, kind, 0.35, 17).identity
    assert all(word in words for word in (kind, "0.35", "17", "digits", "400"))


def test_the_identity_tells_the_options_too(tens):
    assert "scaling=unit" in corrupt(tens, "idn_xia", 0.3, 0, scaling="unit").identity
    assert "include_true=True" in corrupt(tens, "symmetric", 0.3, 0).identity


# -- rates


@given(n=st.integers(20, 300), rate=st.floats(0, 0.99), seed=any_seed)
def test_symmetric_without_the_true_class_flips_exactly_the_nominal_share(make_dataset, n, rate, seed):
    dataset = make_dataset(n, 5)
    noisy = corrupt(dataset, "symmetric", rate, seed, include_true=False)
    assert int((noisy.given_labels != noisy.true_labels).sum()) == round(rate * n)


@given(k=st.integers(2, 10), rate=st.floats(0.1, 0.9), seed=any_seed)
def test_symmetric_with_the_true_class_flips_that_share_times_one_minus_one_over_k(make_dataset, k, rate, seed):
    n = 2000
    noisy = corrupt(make_dataset(n, k), "symmetric", rate, seed)
    redrawn = round(rate * n)
    flipped = int((noisy.given_labels != noisy.true_labels).sum())
    sampling_error = math.sqrt(redrawn * (1 - 1 / k) / k)
    assert flipped <= redrawn and abs(flipped - redrawn * (1 - 1 / k)) < 5 * sampling_error + 1


def test_symmetric_sends_labels_to_every_wrong_class_alike(make_dataset):
    matrix = corrupt(make_dataset(20000, 4), "symmetric", 0.6, 0).transition_matrix
    off_diagonal = matrix[~torch.eye(4, dtype=torch.bool)]
    assert (off_diagonal - 0.6 / 4).abs().max() < 0.02


@given(k=st.integers(2, 10), rate=st.floats(0, 0.99), seed=any_seed)
def test_pairflip_moves_exactly_the_nominal_share_to_the_next_class(make_dataset, k, rate, seed):
    noisy = corrupt(make_dataset(150, k), "pairflip", rate, seed)
    moved = noisy.given_labels != noisy.true_labels
    assert int(moved.sum()) == round(rate * 150)
    assert torch.equal(noisy.given_labels[moved], (noisy.true_labels[moved] + 1) % k)


@given(name=st.sampled_from(["digits", "cifar10"]), rate=any_rate, seed=any_seed)
def test_asymmetric_moves_labels_along_the_pairs_once_and_never_twice(make_dataset, name, rate, seed):
    noisy = corrupt(make_dataset(300, 10, name=name), "asymmetric", rate, seed)
    for true, label in zip(noisy.true_labels.tolist(), noisy.given_labels.tolist(), strict=True):
        assert label in (true, ASYMMETRIC_PAIRS[name].get(true, true))


def test_asymmetric_reaches_the_nominal_rate_in_every_class_of_a_pair(make_dataset):
    matrix = corrupt(make_dataset(20000, 10, name="cifar10"), "asymmetric", 0.4, 0).transition_matrix
    for source, destination in {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}.items():
        assert float(matrix[source, destination]) == pytest.approx(0.4, abs=0.05)


def test_asymmetric_cifar100_goes_round_inside_each_superclass(make_dataset):
    noisy = corrupt(make_dataset(2000, 100, name="cifar100"), "asymmetric", 0.5, 0)
    moved = noisy.given_labels != noisy.true_labels
    superclass = torch.tensor(CIFAR100_SUPERCLASS)
    assert torch.equal(superclass[noisy.given_labels], superclass[noisy.true_labels])
    pairs = set(zip(noisy.true_labels[moved].tolist(), noisy.given_labels[moved].tolist(), strict=True))
    assert len(pairs) == 100  # every class has one target
    # Walking along the pairs from any class visits its five siblings and comes back.
    step = dict(pairs)
    for start in range(100):
        walk = [start]
        for _ in range(5):
            walk.append(step[walk[-1]])
        assert walk[-1] == start and len(set(walk)) == 5


def test_cifar100_superclasses_have_five_members_each_and_the_known_ones():
    assert np.bincount(CIFAR100_SUPERCLASS).tolist() == [5] * 20
    by_name = dict(zip(CIFAR100_CLASSES, CIFAR100_SUPERCLASS, strict=True))
    for siblings in (
        "beaver dolphin otter seal whale",
        "maple_tree oak_tree palm_tree pine_tree willow_tree",
        "bicycle bus motorcycle pickup_truck train",
        "baby boy girl man woman",
    ):
        assert len({by_name[name] for name in siblings.split()}) == 1


def test_asymmetric_noise_without_known_pairs_is_refused(make_dataset):
    with pytest.raises(InputError, match="pairflip"):
        corrupt(make_dataset(), "asymmetric", 0.4, 0)


# -- instance-dependent noise


def slow_idn_xia(images, labels, num_classes, rate, generator, scaling, statistics):
    """Xia et al., Algorithm 2, a sample and a class at a time, with the random numbers in the documented order."""
    n = len(images)
    uniform = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
    projections = [
        torch.randn(images[0].numel(), num_classes, generator=generator, dtype=torch.float64).numpy()
        for _ in range(num_classes)
    ]
    rows = []
    for i in range(n):
        q = truncnorm.ppf(uniform[i], (0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
        x = images[i].numpy().astype(np.float64)
        if scaling != "raw":
            x = x / 255
        if scaling == "normalised":
            x = np.stack([(x[c] - float(statistics[0][c])) / float(statistics[1][c]) for c in range(len(x))])
        scores = x.reshape(-1) @ projections[labels[i]]
        wrong = [c for c in range(num_classes) if c != labels[i]]
        weights = {c: math.exp(scores[c] - max(scores[w] for w in wrong)) for c in wrong}
        row = [q * weights[c] / sum(weights.values()) if c in weights else 1 - q for c in range(num_classes)]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("scaling", ["raw", "unit", "normalised"])
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_idn_xia_probabilities_equal_a_loop_over_samples(make_dataset, scaling, rate):
    dataset = make_dataset(60, 5)
    arguments = dataset.train_images, dataset.train_labels, 5, rate
    statistics = dataset.channel_statistics()
    fast = idn_xia_probabilities(*arguments, torch.Generator().manual_seed(3), scaling, statistics)
    slow = slow_idn_xia(*arguments, torch.Generator().manual_seed(3), scaling, statistics)
    torch.testing.assert_close(fast, slow, atol=1e-9, rtol=1e-7)


@given(rate=any_rate, seed=any_seed, scaling=st.sampled_from(["raw", "unit", "normalised"]))
def test_idn_xia_flip_probabilities_average_to_the_truncated_normal_and_the_labels_follow_them(
    make_dataset, rate, seed, scaling
):
    n = 3000
    noisy = corrupt(make_dataset(n, 10), "idn_xia", rate, seed, scaling=scaling)
    q = noisy.flip_prob
    assert q.min() >= 0 and q.max() <= 1
    expected = truncnorm(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    assert abs(float(q.mean()) - expected.mean()) < 5 * expected.std() / math.sqrt(n)
    sampling_error = float((q * (1 - q)).sum().sqrt()) / n
    assert abs(noisy.rate - float(q.mean())) < 5 * sampling_error


def test_idn_xia_on_raw_pixels_sends_each_image_to_almost_one_class_only(make_dataset):
    dataset = make_dataset(300, 10)
    top_share = {}
    for scaling in ("raw", "normalised"):
        p = idn_xia_probabilities(
            dataset.train_images,
            dataset.train_labels,
            10,
            0.4,
            torch.Generator().manual_seed(0),
            scaling,
            dataset.channel_statistics(),
        )
        wrong = p.scatter(1, dataset.train_labels[:, None], 0)
        top_share[scaling] = float((wrong.amax(1) / wrong.sum(1)).mean())
    assert top_share["raw"] > 0.95 > 0.8 > top_share["normalised"]


# -- labels as they come, and bad input


def test_given_noise_takes_the_labels_as_they_are_and_claims_no_truth(tens):
    noisy = corrupt(tens, "given", 0.4, 0)
    assert torch.equal(noisy.given_labels, tens.train_labels)
    assert noisy.true_labels is None and noisy.rate is None and noisy.transition_matrix is None


def test_realised_transition_of_a_hand_made_example():
    matrix = realised_transition(torch.tensor([0, 0, 0, 0, 1]), torch.tensor([0, 0, 0, 1, 1]), 2)
    assert matrix.tolist() == [[0.75, 0.25], [0.0, 1.0]]


@pytest.mark.parametrize("rate", [1.0, -0.1, 1.5, math.nan])
def test_a_rate_outside_zero_to_one_is_refused(tens, rate):
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        corrupt(tens, "symmetric", rate, 0)


def test_an_unknown_kind_lists_the_valid_ones(tens):
    with pytest.raises(InputError, match=r"'gaussian'.*symmetric, asymmetric, pairflip, idn_xia, given"):
        corrupt(tens, "gaussian", 0.4, 0)


def test_an_unknown_option_lists_the_valid_ones(tens):
    with pytest.raises(InputError, match=r"'scale'.*valid options: scaling"):
        corrupt(tens, "idn_xia", 0.4, 0, scale="raw")


def test_an_unknown_scaling_lists_the_valid_ones(tens):
    with pytest.raises(InputError, match=r"'pixel'.*raw, unit, normalised"):
        corrupt(tens, "idn_xia", 0.4, 0, scaling="pixel")
