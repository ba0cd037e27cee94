from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.mixture import GaussianMixture

from nlcore import InputError
from nlcore.selection.streams import (
    certain_sets,
    class_margin,
    class_means,
    feature_stream,
    joint_probability,
    lasting_opinion,
    loss_stream,
    min_max,
    row_sums,
    undivided_classes,
)
from nlcore.study.comparisons import roc_auc


@pytest.fixture
def random_features(rng):
    """60 features of 7 dimensions, labels of 4 classes of which the last is empty, weights."""
    return torch.randn(60, 7, generator=rng), torch.randint(0, 3, (60,), generator=rng), torch.rand(60, generator=rng)


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def test_min_max_reaches_from_zero_to_one_and_turns_equal_values_into_zeros():
    assert min_max(torch.tensor([3.0, 1.0, 2.0])).tolist() == [1.0, 0.0, 0.5]
    assert min_max(torch.tensor([4.0, 4.0])).tolist() == [0.0, 0.0]


def test_row_sums_are_those_of_the_full_affinity_matrix_of_each_class(random_features):
    features, labels, _ = random_features
    fast = row_sums(features, labels, 4)
    for c in range(3):
        unit = features[labels == c] / features[labels == c].norm(dim=1, keepdim=True)
        torch.testing.assert_close(fast[labels == c], (unit @ unit.T).sum(1), atol=1e-4, rtol=1e-5)


def test_class_margin_equals_a_loop_over_samples(random_features):
    features, labels, weight = random_features
    labels = torch.cat([labels[:-1], torch.tensor([3])])  # every class occurs
    means = []
    for c in range(4):
        members = (labels == c).nonzero().flatten().tolist()
        means.append(sum(weight[i] * features[i] / features[i].norm() for i in members) / weight[members].sum())
    slow = [
        cosine(f, means[y]) - max(cosine(f, means[c]) for c in range(4) if c != y)
        for f, y in zip(features, labels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(class_margin(features, labels, 4, weight), slow, atol=1e-5)


def test_class_means_are_weighted_and_zero_for_a_class_without_weight():
    features = torch.tensor([[1.0, 0.0], [4.0, 3.0], [9.0, 9.0]])
    means = class_means(features, torch.tensor([0, 0, 1]), 3, torch.tensor([1.0, 2.0, 0.0]))
    assert means.tolist() == [[3.0, 2.0], [0.0, 0.0], [0.0, 0.0]]


def test_feature_stream_fits_each_class_on_its_own_scale_with_scikit_learns_mixture(rng):
    labels = torch.arange(400) % 2
    aligned = torch.rand(400, generator=rng) < 0.7
    scores = torch.where(aligned, 0.8, 0.2) + 0.05 * torch.randn(400, generator=rng)
    scores = torch.where(labels == 1, 100 * scores - 7, scores)  # scale and offset of a class must not matter
    p = feature_stream(scores, labels, 2)
    for c in range(2):
        own = scores[labels == c].double().numpy()[:, None]
        own = (own - own.min()) / (own.max() - own.min())
        mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(own)
        expected = mixture.predict_proba(own)[:, mixture.means_.argmax()]
        np.testing.assert_allclose(p[labels == c], expected, atol=5e-3)
    assert torch.equal(p > 0.5, aligned)


def test_one_feature_mixture_for_all_leaves_a_class_whole_that_is_unlike_the_others(rng):
    """Class 0 has right and wrong labels, class 1 none that is wrong: a mixture of its own splits it all the same."""
    labels = torch.arange(600) % 2
    aligned = (torch.rand(600, generator=rng) < 0.6) | (labels == 1)
    scores = torch.where(aligned, 0.8, 0.2) + 0.03 * torch.randn(600, generator=rng)
    p = feature_stream(scores, labels, 2, per_class=False)
    scaled = ((scores - scores.min()) / (scores.max() - scores.min())).double().numpy()[:, None]
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(scaled)
    np.testing.assert_allclose(p, mixture.predict_proba(scaled)[:, mixture.means_.argmax()], atol=5e-3)
    assert torch.equal(p > 0.5, aligned)
    split = feature_stream(scores, labels, 2)[labels == 1] < 0.5
    assert 0.2 < split.float().mean() < 0.8


def test_loss_stream_with_one_mixture_a_class_judges_a_class_by_its_own_scale(rng):
    """Class 1 is harder: its clean losses are larger than the wrong ones of class 0."""
    labels = torch.arange(400) % 2
    clean = torch.rand(400, generator=rng) < 0.6
    easy, hard = torch.where(clean, 0.1, 1.0), torch.where(clean, 3.0, 6.0)
    losses = torch.where(labels == 0, easy, hard) + 0.05 * torch.rand(400, generator=rng)
    assert torch.equal(loss_stream(losses, labels, 2, per_class_from=100) > 0.5, clean)
    assert not torch.equal(loss_stream(losses, labels, 2, per_class_from=None) > 0.5, clean)


def test_loss_stream_uses_one_mixture_below_so_many_samples_a_class(rng):
    losses, labels = torch.rand(400, generator=rng), torch.arange(400) % 2
    whole = loss_stream(losses, labels, 2, None)
    assert torch.equal(loss_stream(losses, labels, 2, per_class_from=201), whole)
    assert not torch.equal(loss_stream(losses, labels, 2, per_class_from=200), whole)


def test_a_class_of_one_kind_is_not_divided_and_one_of_two_kinds_is(rng):
    labels = torch.arange(600) % 3
    hump = 0.05 * torch.randn(600, generator=rng)
    two_kinds = torch.where(torch.rand(600, generator=rng) < 0.6, 0.2, 0.8)
    scores = torch.where(labels == 1, 0.5, two_kinds) + hump
    assert undivided_classes(scores, labels, 4, 2.0).tolist() == [False, True, False, False]  # class 3 is empty


# -- combining the streams; p_loss and p_feature of six samples

P_LOSS = torch.tensor([0.9, 0.1, 0.9, 0.4, 0.6, 0.5])
P_FEATURE = torch.tensor([0.8, 0.2, 0.2, 0.7, 0.3, 0.5])


@pytest.mark.parametrize(
    ("combination", "positive", "negative"),
    [
        ("agreement", [0], [1]),
        ("loss", [0, 2, 4], [1, 3]),
        ("feature", [0, 3], [1, 2, 4]),
        ("mean", [0, 2, 3], [1, 4]),
        ("product", [0], [1, 2, 3, 4, 5]),
    ],
)
def test_each_combination_on_six_samples(combination, positive, negative):
    p, n = certain_sets(P_LOSS, P_FEATURE, 0.5, combination)
    assert p.nonzero().flatten().tolist() == positive and n.nonzero().flatten().tolist() == negative


def test_a_higher_tau_leaves_more_samples_uncertain():
    positive, negative = certain_sets(P_LOSS, P_FEATURE, 0.85, "loss")
    assert positive.tolist() == [True, False, True, False, False, False]
    assert negative.tolist() == [False, True, False, False, False, False]


def test_an_unknown_combination_lists_the_valid_ones():
    with pytest.raises(InputError, match=r"'vote'.*agreement, mean, product, loss, feature, joint"):
        certain_sets(P_LOSS, P_FEATURE, 0.5, "vote")


def test_the_joint_mixture_favours_the_component_near_the_origin(rng, unchanged_global_state):
    near = torch.rand(300, generator=rng) < 0.5
    values = torch.where(near[:, None], 0.2, 0.8) + 0.05 * torch.randn(300, 2, generator=rng)
    with unchanged_global_state():
        assert torch.equal(joint_probability(values) > 0.5, near)
    positive, negative = certain_sets(P_LOSS, P_FEATURE, 0.5, "joint", values)
    assert torch.equal(positive, near) and torch.equal(negative, ~near)


# -- no class may vanish


# -- memory


def test_no_stream_ever_makes_a_tensor_that_grows_with_the_square_of_n(rng, largest_tensor):
    n, d, k = 5000, 16, 10
    features = torch.rand(n, d, generator=rng)
    labels, weight = torch.randint(0, k, (n,), generator=rng), torch.rand(n, generator=rng)
    with largest_tensor() as made:
        row_sums(features, labels, k)
        class_margin(features, labels, k, weight)
        feature_stream(weight, labels, k)
        loss_stream(weight, labels, k, 100)
    assert 0 < made.numel <= n * d


def test_a_lasting_opinion_is_a_geometric_mean_over_streams_and_divisions_sample_by_sample(make_snapshot):
    looks = [make_snapshot(n=40, seed=0, doubt=doubt) for doubt in (0.0, 1.0, 2.0)]  # one set of labels, three networks
    given, trust = looks[0].given, torch.linspace(0.1, 1, 40)
    memory, expected = {}, None
    for look in looks:
        s = look.snapshot
        found = lasting_opinion(s, given, trust, 0.0, memory)
        centred = s.features - s.features.mean(0)
        unit = centred / centred.norm(dim=1, keepdim=True)
        now = []
        for i in range(40):
            means = [(trust[given == c, None] * unit[given == c]).sum(0) for c in range(4)]
            prototype = torch.stack([20 * unit[i] @ mean / mean.norm() for mean in means]).softmax(0)[given[i]]
            now.append((s.logits[i].softmax(0)[given[i]] * prototype) ** 0.5)
        now = torch.stack(now)
        expected = now if expected is None else expected**0.8 * now**0.2
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_class_means_have_no_opinion_where_the_network_contradicts_too_many_labels(make_snapshot):
    made = make_snapshot(n=400, rate=0.4, blur=1.0, doubt=1.0)
    agreed = float((made.snapshot.logits.argmax(1) == made.given).float().mean())
    ask = partial(lasting_opinion, made.snapshot, made.given, torch.ones(400))
    torch.testing.assert_close(ask(agreed + 0.01, {}), (-made.snapshot.losses).exp())
    assert not torch.allclose(ask(agreed - 0.01, {}), ask(agreed + 0.01, {}), atol=0.01)


def test_a_lasting_opinion_of_other_samples_begins_anew(make_snapshot):
    made, other = make_snapshot(n=40, seed=0), make_snapshot(n=40, seed=1)
    trust, memory = torch.ones(40), {}
    lasting_opinion(replace(made.snapshot, index=torch.arange(40)), made.given, trust, 0.0, memory)
    next_images = replace(other.snapshot, index=torch.arange(40, 80))
    found = lasting_opinion(next_images, other.given, trust, 0.0, memory)
    assert torch.equal(found, lasting_opinion(next_images, other.given, trust, 0.0, {}))


def test_a_lasting_opinion_remembers_a_doubt_that_the_network_has_lost(make_snapshot):
    """A network that has learnt every label by heart orders them no more; the opinions before it did still do."""
    made = make_snapshot(n=400, k=4, blur=1.0, doubt=1.0)
    right, by_heart = made.given == made.true, F.one_hot(made.given, 4).float()
    features = by_heart.repeat(1, 4) + 0.1 * torch.randn(400, 16, generator=made.generator)
    learnt = replace(made.snapshot, logits=9 * by_heart, features=features)
    memory, trust = {}, torch.ones(400)
    before = roc_auc(lasting_opinion(made.snapshot, made.given, trust, 0.0, memory), right)
    lasting, fresh = (roc_auc(lasting_opinion(learnt, made.given, trust, 0.0, m), right) for m in (memory, {}))
    assert before > 0.95 and lasting > 0.95 and fresh < 0.6
