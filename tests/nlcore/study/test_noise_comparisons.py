import math

import pytest
import torch

from nlcore import NoisyLabels, corrupt
from nlcore.noise.models import SCALINGS
from nlcore.study.noise_comparisons import (
    confusion_numbers,
    difficulty,
    difficulty_auc,
    hits_by_difficulty,
    scaling_table,
    twin,
    two_sample_auc,
)
from nlcore.training.clean_model import CleanPredictions


def labels(given: list[int], true: list[int], num_classes: int) -> NoisyLabels:
    return NoisyLabels.measured(torch.tensor(given), torch.tensor(true), num_classes, "made")


def test_confusion_numbers_of_a_hand_made_example():
    # class 0 has two flips to 2, class 1 one to 0 and one to 2, class 2 none
    noisy = labels([0, 0, 2, 2, 1, 1, 0, 2, 2, 2], [0, 0, 0, 0, 1, 1, 1, 1, 2, 2], 3)
    numbers = confusion_numbers(noisy)
    assert numbers["wrong"] == 0.4
    assert numbers["top target"] == pytest.approx((1.0 + 0.5) / 2)  # class 2 has no flips
    assert numbers["largest class"] == 0.5 and numbers["sink"] == 2
    assert numbers["into the sink"] == pytest.approx(3 / 4)


def test_the_scaling_table_counts_the_top_target_and_the_largest_class(make_dataset):
    data = make_dataset(n=300, k=3)
    table = scaling_table(data, "idn_xia", 0.4, [5, 6])
    assert list(zip(table["scaling"], table["seed"], strict=True)) == [(s, n) for s in SCALINGS for n in (5, 6)]
    noisy = corrupt(data, "idn_xia", 0.4, 6, scaling="unit")
    true, given = noisy.true_labels.tolist(), noisy.given_labels.tolist()
    shares = []
    for c in range(3):
        targets = [g for t, g in zip(true, given, strict=True) if t == c and g != c]
        shares.append(max(targets.count(target) for target in targets) / len(targets))
    row = table.loc[3]
    assert row["wrong"] == noisy.rate
    assert row["top target"] == pytest.approx(sum(shares) / 3)
    assert row["largest class"] == pytest.approx(max(given.count(c) for c in range(3)) / 300)


def test_an_image_that_was_never_learnt_is_hard_and_one_that_was_always_known_is_easy():
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    predictions = CleanPredictions(torch.zeros(3, 2), torch.zeros(3, 4), probs)
    assert difficulty(predictions, torch.tensor([0, 0, 1])).tolist() == [0.0, 0.5, 1.0]


def test_hits_are_counted_in_tenths_from_easy_to_hard():
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    given = torch.zeros(40, dtype=torch.int64)
    given[order[36:]] = 1  # the four hardest are wrong
    noisy = NoisyLabels.measured(given, torch.zeros(40, dtype=torch.int64), 2, "made")
    hardness = torch.empty(40)
    hardness[order] = torch.arange(40).float()
    assert hits_by_difficulty(noisy, hardness).tolist() == [0.0] * 9 + [1.0]
    assert difficulty_auc(noisy, hardness) == 1.0


def test_noise_that_does_not_look_hits_easy_and_hard_images_alike(make_dataset):
    noisy = corrupt(make_dataset(5000), "symmetric", 0.4, 0)
    hardness = torch.rand(5000, generator=torch.Generator().manual_seed(1))
    assert abs(difficulty_auc(noisy, hardness) - 0.5) < 0.03


def test_a_twin_has_the_same_confusions_and_other_images(make_dataset, rng):
    noisy = corrupt(make_dataset(20_000, 5), "idn_shared", 0.4, 1)  # not the seed of rng: their draws would agree
    other = twin(noisy, rng)
    assert (other.transition_matrix - noisy.transition_matrix).abs().max() < 0.03
    wrong, others = (n.given_labels != n.true_labels for n in (noisy, other))
    assert float(others[wrong].double().mean()) == pytest.approx(float(others.double().mean()), abs=0.03)


@pytest.fixture
def looking(make_dataset):
    """4,000 images with features, and noise that hits those whose third feature is large."""
    true = make_dataset(4000, 4).train_labels
    features = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0)) + true[:, None]
    given = torch.where(features[:, 2] > true + 0.3, (true + 1) % 4, true)
    return NoisyLabels.measured(given, true, 4, "looks at feature 2"), features


def test_noise_that_looks_at_the_image_is_told_from_its_twin_by_the_features_only(looking, rng):
    noisy, features = looking
    # At most 0.81: the twin hits some of the same images.
    assert two_sample_auc(noisy, twin(noisy, rng), features, rng) > 0.75
    assert abs(two_sample_auc(noisy, twin(noisy, rng), None, rng) - 0.5) < 0.05


def test_two_draws_of_the_same_noise_cannot_be_told_apart(looking, rng):
    noisy, features = looking
    first, second = twin(noisy, rng), twin(noisy, rng)
    assert abs(two_sample_auc(first, second, features, rng) - 0.5) < 0.05


def test_other_confusions_are_told_apart_without_features(make_dataset, rng):
    dataset = make_dataset(4000, 10)
    pair, uniform = corrupt(dataset, "pairflip", 0.4, 0), corrupt(dataset, "symmetric", 0.4, 0)
    assert two_sample_auc(pair, uniform, None, rng) > 0.9


def test_without_wrong_labels_there_is_nothing_to_tell(make_dataset, rng):
    clean = corrupt(make_dataset(), "symmetric", 0.0, 0)
    assert math.isnan(two_sample_auc(clean, twin(clean, rng), None, rng))
