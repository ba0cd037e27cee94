"""Concerns: each is named with a number where it is there, and not where it is not."""

import pytest
import torch

from nlcore.audit.concerns import concerns
from nlcore.audit.evidence import nearest_others, standardised

NAMES = ("ant", "bee", "cat", "dog")


def found(vectors, labels, opinion=None, quality=None) -> tuple[str, ...]:
    vectors = standardised(vectors)
    opinion = torch.eye(4, dtype=torch.float64)[labels] if opinion is None else opinion
    quality = torch.ones(len(labels), dtype=torch.float64) if quality is None else quality
    neighbours = nearest_others(vectors, torch.arange(len(labels)), 20)
    return concerns(vectors, labels, NAMES, neighbours, opinion, quality)


def test_there_is_nothing_to_say_of_data_without_a_concern(noisy) -> None:
    assert found(noisy.vectors, noisy.true) == ()


def test_rare_classes_are_named_with_how_many_samples_and_doubts_they_have(noisy) -> None:
    keep = torch.cat([(noisy.true != 2).nonzero().flatten(), (noisy.true == 2).nonzero().flatten()[:12]])
    labels = noisy.true[keep]
    quality = torch.where(labels == 2, 0.1, 1.0).double()
    sentences = found(noisy.vectors[keep], labels, quality=quality)
    assert any("1 of 4 classes (cat)" in s and "12 samples in all, of which 12" in s for s in sentences)
    assert any("Class ant is 12 times as large as cat" in s and "100%" in s for s in sentences)


def test_copies_are_counted_and_those_with_another_label(noisy) -> None:
    vectors = torch.cat([noisy.vectors, noisy.vectors[:30]])
    labels = torch.cat([noisy.true, (noisy.true[:30] + (torch.arange(30) < 10)) % 4])
    (sentence,) = found(vectors, labels)
    assert sentence.startswith("60 samples are nearly the same as another one, and 20 of them have another label")


@pytest.mark.parametrize("count", [120, 30])
def test_two_kinds_of_samples_are_found_with_how_much_each_is_doubted(noisy, count: int) -> None:
    kind = torch.arange(600) < count
    vectors = noisy.vectors + 60.0 * kind[:, None]
    quality = torch.where(kind & (torch.arange(600) % 4 == 0), 0.1, 1.0).double()
    (sentence,) = found(vectors, noisy.true, quality=quality)
    assert f"two kinds, {count / 6:.0f}% and {100 - count / 6:.0f}%" in sentence
    assert f"smaller kind {len(range(0, count, 4)) / count:.0%} of the labels" in sentence


def test_two_groups_of_classes_are_not_two_kinds_even_with_wrong_labels(noisy) -> None:
    vectors = noisy.vectors + 60.0 * (noisy.true < 2)[:, None]
    assert found(vectors, noisy.true) == () == found(vectors, noisy.given)


def test_labels_that_the_inputs_do_not_tell_are_said_to_be_so(noisy) -> None:
    uniform = torch.full((600, 4), 0.25, dtype=torch.float64)
    (sentence,) = found(noisy.vectors, noisy.true, opinion=uniform)
    assert sentence.startswith("The models agree with 25% of the labels, hardly more than by chance (kappa 0.00)")


@pytest.mark.parametrize("n", [3, 8])
def test_a_handful_of_samples_is_no_reason_to_fail(n: int) -> None:
    vectors = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    assert any("fewer than 20 samples" in s for s in found(vectors, torch.arange(n) % 4))
