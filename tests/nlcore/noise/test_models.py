import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import truncnorm

from nlcore import InputError
from nlcore.noise.models import draw, idn_pmd, idn_seal, idn_shared_probabilities, idn_xia_probabilities

# -- noise that projects the image


def slow_idn(images, labels, num_classes, rate, generator, scaling, statistics, shared=False):
    """Xia et al., Algorithm 2, a sample and a class at a time, with the random numbers in the documented order."""
    n = len(images)
    uniform = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
    projections = [
        torch.randn(images[0].numel(), num_classes, generator=generator, dtype=torch.float64).numpy()
        for _ in range(1 if shared else num_classes)
    ]
    rows = []
    for i in range(n):
        q = truncnorm.ppf(uniform[i], (0 - rate) / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
        x = images[i].numpy().astype(np.float64)
        if scaling != "raw":
            x = x / 255
        if scaling == "normalised":
            x = np.stack([(x[c] - float(statistics[0][c])) / float(statistics[1][c]) for c in range(len(x))])
        scores = x.reshape(-1) @ projections[0 if shared else labels[i]]
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
    slow = slow_idn(*arguments, torch.Generator().manual_seed(3), scaling, statistics)
    torch.testing.assert_close(fast, slow, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("scaling", ["raw", "unit", "normalised"])
def test_idn_shared_probabilities_equal_a_loop_with_one_projection(make_dataset, scaling):
    dataset = make_dataset(60, 5)
    arguments = dataset.train_images, dataset.train_labels, 5, 0.4
    statistics = dataset.channel_statistics()
    fast = idn_shared_probabilities(*arguments, torch.Generator().manual_seed(3), scaling, statistics)
    slow = slow_idn(*arguments, torch.Generator().manual_seed(3), scaling, statistics, shared=True)
    torch.testing.assert_close(fast, slow, atol=1e-9, rtol=1e-7)


def test_many_images_are_projected_in_parts_with_the_same_result(make_dataset, monkeypatch):
    dataset = make_dataset(300, 3)
    arguments = dataset.train_images, dataset.train_labels, 3, 0.4
    whole = idn_xia_probabilities(*arguments, torch.Generator().manual_seed(0), "unit")
    monkeypatch.setattr("nlcore.noise.models.PROJECTED_AT_ONCE", 7)
    parts = idn_xia_probabilities(*arguments, torch.Generator().manual_seed(0), "unit")
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=0)


def at_forty_per_cent(probabilities, dataset, scaling):
    """What a projection model gives a dataset of ten classes, (N, 10)."""
    generator, statistics = torch.Generator().manual_seed(0), dataset.channel_statistics()
    return probabilities(dataset.train_images, dataset.train_labels, 10, 0.4, generator, scaling, statistics)


def test_idn_xia_on_raw_pixels_sends_each_image_to_almost_one_class_only(make_dataset):
    dataset = make_dataset(300, 10)
    top_share = {}
    for scaling in ("raw", "normalised"):
        p = at_forty_per_cent(idn_xia_probabilities, dataset, scaling)
        wrong = p.scatter(1, dataset.train_labels[:, None], 0)
        top_share[scaling] = float((wrong.amax(1) / wrong.sum(1)).mean())
    assert top_share["raw"] > 0.95 > 0.8 > top_share["normalised"]


def test_one_projection_makes_one_class_a_sink_on_raw_pixels_only(make_dataset):
    dataset = make_dataset(2000, 10)
    # What makes a sink: images that are alike. Half of every image here is the same bright square.
    dataset.train_images[:, :, :, :2] = 255
    largest = {}
    for scaling in ("raw", "normalised"):
        p = at_forty_per_cent(idn_shared_probabilities, dataset, scaling)
        largest[scaling] = float(p.mean(0).max())
    assert largest["raw"] > 0.25 > largest["normalised"]


@given(seed=st.integers(0, 1000))
def test_draws_follow_their_probabilities(seed):
    g = torch.Generator().manual_seed(seed)
    row = torch.rand(4, generator=g, dtype=torch.float64)
    row[seed % 4] = 0  # never drawn
    row /= row.sum()
    drawn = draw(row.expand(4000, 4), g)
    share = torch.bincount(drawn, minlength=4).double() / 4000
    assert share[seed % 4] == 0
    assert ((share - row).abs() < 5 * (row * (1 - row) / 4000).sqrt() + 1e-9).all()


# -- noise that asks a model trained on clean labels


def made_logits(n: int, k: int, seed: int, right: float = 0.95):
    """Logits of a made model that is mostly right, and the true labels."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, k, (n,), generator=g)
    logits = torch.randn(n, k, generator=g)
    sure = torch.rand(n, generator=g) < right
    logits[torch.arange(n), labels] += torch.where(sure, 4.0, 0.0)
    return logits, labels


def slow_pmd(logits, labels, noise_type, factor, generator):
    """PMD with a given factor, a sample at a time: given labels and the probability that each is wrong."""
    given, wrong_prob = [], []
    uniform = torch.rand(len(labels), generator=generator, dtype=torch.float64).tolist()
    for i, z in enumerate(logits.double().numpy()):
        eta = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        s, u = np.argsort(eta)[-2:]
        d = eta[u] - eta[s]
        f = {"I": -0.5 * d * d + 0.5, "II": 1 - d**3, "III": 1 - d**3 / 3 - d * d / 3 - d / 3}[noise_type]
        p = min(1.0, factor * f)
        given.append(int(s if uniform[i] < p else u))
        wrong_prob.append(p * (s != labels[i].item()) + (1 - p) * (u != labels[i].item()))
    return torch.tensor(given), torch.tensor(wrong_prob, dtype=torch.float64)


@given(
    rate=st.floats(0.1, 0.7),
    noise_type=st.sampled_from(["I", "II", "III"]),
    n=st.integers(300, 1200),
    k=st.integers(3, 12),
    seed=st.integers(0, 1000),
)
def test_pmd_realises_its_rate_and_equals_a_loop_with_the_factor_that_it_found(rate, noise_type, n, k, seed):
    logits, labels = made_logits(n, k, seed)
    given_labels, flip_prob, factor = idn_pmd(logits, labels, rate, noise_type, torch.Generator().manual_seed(seed))
    assert abs(float((given_labels != labels).double().mean()) - rate) <= max(0.002, 0.5 / n)
    slow_labels, slow_prob = slow_pmd(logits, labels, noise_type, factor, torch.Generator().manual_seed(seed))
    assert torch.equal(given_labels, slow_labels)
    torch.testing.assert_close(flip_prob, slow_prob, atol=1e-12, rtol=0)


def test_pmd_gives_only_the_two_most_likely_classes():
    logits, labels = made_logits(500, 6, 0)
    given_labels, *_ = idn_pmd(logits, labels, 0.5, "II", torch.Generator().manual_seed(0))
    assert (given_labels[:, None] == logits.topk(2).indices).any(1).all()


def test_pmd_falls_where_the_model_doubts():
    logits, labels = made_logits(3000, 5, 0)
    given_labels, *_ = idn_pmd(logits, labels, 0.3, "III", torch.Generator().manual_seed(0))
    best, second = logits.softmax(1).topk(2).values.unbind(1)
    fallen = given_labels != logits.argmax(1)
    assert (best - second)[fallen].mean() < (best - second)[~fallen].mean() - 0.2


@pytest.mark.parametrize(("rate", "words"), [(0.001, "cannot make 0.1%"), (0.999, "cannot make 99.9%")])
def test_pmd_refuses_a_rate_that_no_factor_reaches_and_tells_what_can_be_reached(rate, words):
    logits, labels = made_logits(1000, 5, 0, right=0.8)
    with pytest.raises(InputError, match=words) as error:
        idn_pmd(logits, labels, rate, "I", torch.Generator())
    assert "0 to infinity it makes" in str(error.value) and "\n" not in str(error.value)


def test_pmd_of_a_model_that_never_doubts_can_flip_nothing():
    labels = torch.arange(10)
    logits = 1e4 * torch.eye(10)
    with pytest.raises(InputError, match=r"makes 0.0% to 0.0%"):
        idn_pmd(logits, labels, 0.4, "I", torch.Generator())


def test_an_unknown_pmd_type_lists_the_valid_ones():
    with pytest.raises(InputError, match=r"'IV'.*I, II, III"):
        idn_pmd(torch.zeros(2, 2), torch.zeros(2).long(), 0.4, "IV", torch.Generator())


@given(n=st.integers(2, 300), k=st.integers(2, 8), rate=st.floats(0, 0.99), seed=st.integers(0, 1000))
def test_seal_flips_exactly_the_most_doubtful_samples_to_the_class_they_are_taken_for(n, k, rate, seed):
    logits, labels = made_logits(n, k, seed)
    probs = logits.softmax(1)
    given_labels = idn_seal(probs, labels, rate)
    doubts = []
    for i in range(n):
        wrong = [(float(probs[i, c]), -c) for c in range(k) if c != labels[i]]
        doubts.append(max(wrong))
    hardest = sorted(range(n), key=lambda i: -doubts[i][0])[: round(rate * n)]
    expected = labels.clone()
    for i in hardest:
        expected[i] = -doubts[i][1]
    assert int((given_labels != labels).sum()) == round(rate * n)
    assert torch.equal(given_labels, expected)
