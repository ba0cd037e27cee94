"""The simple scores against loops over samples, and no fold that has seen its own labels."""

import pytest
import torch

from nlcore import Dataset, corrupt, load_dataset
from nlcore.study.label_scores import (
    label_scores,
    neighbour_share,
    normalised_margin,
    out_of_fold_probs,
)
from nlcore.training.report import label_order


def blobs(n: int = 240, d: int = 12) -> Dataset:
    """Three clouds of vectors."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 3
    vectors = torch.randn(n, d, generator=generator) + 3 * torch.randn(3, d, generator=generator)[labels]
    return Dataset("blobs", vectors, labels, vectors[:30], labels[:30], ("a", "b", "c"))


def test_the_margin_by_hand():
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    torch.testing.assert_close(normalised_margin(probs, torch.tensor([0, 1])), torch.tensor([0.5, -0.3]))


def test_the_share_of_neighbours_equals_a_loop_over_samples(rng):
    features, labels = torch.randn(40, 6, generator=rng), torch.randint(3, (40,), generator=rng)
    shares = neighbour_share(features, labels, 3, 5)
    for i in range(40):
        cosines = [float(torch.cosine_similarity(features[i], features[j], dim=0)) for j in range(40)]
        nearest = sorted((j for j in range(40) if j != i), key=lambda j: -cosines[j])[:5]
        assert float(shares[i]) == pytest.approx(sum(int(labels[j] == labels[i]) for j in nearest) / 5, abs=1e-6)


def test_every_score_finds_wrong_labels_of_clouds_that_lie_apart():
    data = blobs()
    noisy = corrupt(data, "symmetric", 0.3, 0)
    scores = label_scores(data, noisy, 0)
    assert list(scores) == ["p, in-sample", "p, out-of-fold", "margin, out-of-fold", "neighbours"]
    for score in scores.values():
        assert score.shape == (240,) and label_order(score, noisy.given_labels, noisy.true_labels)["auroc"] > 0.85


def test_no_label_is_judged_by_a_classifier_that_has_seen_it():
    """Labels by chance cannot be told from vectors: out-of-fold the given one is as probable as any."""
    generator = torch.Generator().manual_seed(2)
    n = 300
    vectors, labels = torch.randn(n, 400, generator=generator), torch.randint(3, (n,), generator=generator)
    data = Dataset("chance", vectors, labels, vectors[:3], labels[:3], ("a", "b", "c"))
    outside = out_of_fold_probs(data, labels, 0).gather(1, labels[:, None]).mean()
    inside = label_scores(data, corrupt(data, "given", None, 0), 0)["p, in-sample"].mean()
    assert float(outside) == pytest.approx(1 / 3, abs=0.08) and float(inside) > 0.45


def test_scores_of_images_come_from_their_own_network():
    data = load_dataset("digits").subset(300)
    noisy = corrupt(data, "symmetric", 0.3, 0)
    for score in label_scores(data, noisy, 0).values():
        assert label_order(score, noisy.given_labels, noisy.true_labels)["auroc"] > 0.9
