import math

import pytest
import torch
import torch.nn.functional as F

from nlcore.basics.chance import seeded
from nlcore.selection.hallucination import (
    Anchors,
    Hallucinator,
    describe_anchors,
    draw_pairs,
    hallucinate,
    hallucination_loss,
    interpolate,
    train_hallucinator,
)


def test_pairs_are_balanced_over_classes_and_never_of_one_class(rng):
    labels = torch.tensor([0] * 50 + [1] * 5 + [3] * 20)  # class 2 does not occur
    labels = labels[torch.randperm(75, generator=rng)]
    pairs = draw_pairs(labels, 30, rng)
    assert torch.bincount(labels[pairs[:, 0]]).tolist() == [30, 30, 0, 30]
    assert (labels[pairs[:, 0]] != labels[pairs[:, 1]]).all()


def test_every_sample_can_be_a_first_and_every_other_one_a_second_parent(rng):
    labels = torch.tensor([0, 1, 0, 2, 1])
    pairs = draw_pairs(labels, 400, rng)
    seen = set(map(tuple, pairs.tolist()))
    assert seen == {(i, j) for i in range(5) for j in range(5) if labels[i] != labels[j]}
    # The second parent is drawn among all others alike, not among classes alike.
    second_of_zero = pairs[labels[pairs[:, 0]] == 2][:, 1]
    assert torch.bincount(second_of_zero, minlength=5)[[0, 1, 2, 4]].min() > 60


@pytest.mark.parametrize("labels", [[], [1], [2, 2, 2]])
def test_fewer_than_two_classes_give_no_pair(labels, rng):
    assert draw_pairs(torch.tensor(labels, dtype=torch.int64), 10, rng).shape == (0, 2)


def test_anchors_are_non_negative_like_pooled_features(rng):
    with seeded(0):
        hallucinator = Hallucinator(6)
    anchors = hallucinator(torch.randn(50, 6, generator=rng), torch.randn(50, 6, generator=rng))
    assert anchors.shape == (50, 6) and anchors.min() >= 0


# -- the loss at points worked out by hand: parents (2, 0) and (0, 2), undecided classifier, so L_cls = log 2

FIRST, SECOND = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])


def loss_at(anchor, lambda_p, **options):
    return float(
        hallucination_loss(
            torch.tensor([anchor]), FIRST, SECOND, torch.zeros(1, 2), torch.tensor([0]), lambda_p, **options
        )
    )


def test_a_copy_of_the_first_parent_costs_nothing_at_lambda_one():
    assert loss_at([2.0, 0.0], 1.0, similarity_weight=1.0) == pytest.approx(math.log(2))
    assert loss_at([0.0, 2.0], 1.0, similarity_weight=1.0) == pytest.approx(math.log(2) + 1)


def test_the_middle_costs_one_minus_cos_45_at_any_lambda():
    for lambda_p in (0.5, 0.7, 1.0):
        expected = math.log(2) + 3 * (1 - math.sqrt(0.5))
        assert loss_at([1.0, 1.0], lambda_p, similarity_weight=3.0) == pytest.approx(expected, abs=1e-6)


def test_centred_cosines_are_those_around_the_centre():
    # Seen from (1, 0) the parents point to (1, 0) and (-1, 2), the anchor (1, 1) to (0, 1).
    loss = loss_at([1.0, 1.0], 0.75, similarity_weight=1.0, centre=torch.tensor([1.0, 0.0]))
    assert loss == pytest.approx(math.log(2) + 1 - 0.25 * 2 / math.sqrt(5), abs=1e-6)


def test_the_norm_penalty_is_the_squared_relative_deviation_from_the_parents_length():
    assert loss_at([3.0, 0.0], 1.0, similarity_weight=0.0, norm_penalty=2.0) == pytest.approx(math.log(2) + 2 * 0.25)
    assert loss_at([2.0, 0.0], 1.0, similarity_weight=0.0, norm_penalty=2.0) == pytest.approx(math.log(2))


def test_the_classifier_is_asked_for_the_first_parents_class():
    logits = torch.tensor([[math.log(3), 0.0]])
    for label, prob in ((0, 0.75), (1, 0.25)):
        loss = hallucination_loss(FIRST, FIRST, SECOND, logits, torch.tensor([label]), 1.0, 0.0)
        assert float(loss) == pytest.approx(-math.log(prob), abs=1e-6)


# -- training on toy features


@pytest.fixture(scope="module")
def trained(make_snapshot):
    """lambda_p -> anchors, features, labels, logits of anchors after training with the centred loss."""
    made = make_snapshot(n=400, k=4, rate=0.0)
    features, labels = made.snapshot.features, made.true

    def train(lambda_p: float):
        generator = torch.Generator().manual_seed(0)
        with seeded(0):
            hallucinator = Hallucinator(features.shape[1])
        optimiser = torch.optim.Adam(hallucinator.parameters(), lr=1e-3)
        options = {"similarity_weight": 20.0, "centre": features.mean(0), "norm_penalty": 1.0}
        train_hallucinator(
            hallucinator, optimiser, features, labels, made.classify, 400, generator, lambda_p=lambda_p, **options
        )
        anchors = hallucinate(hallucinator, features, labels, draw_pairs(labels, 200, generator))
        return describe_anchors(anchors, features, made.classify(anchors.features), labels)

    return {lambda_p: train(lambda_p) for lambda_p in (0.5, 1.0)}


def test_lambda_one_makes_copies_of_the_first_parent(trained):
    assert trained[1.0]["cos_first"] > 0.8 and trained[1.0]["cos_first"] - trained[1.0]["cos_second"] > 0.8


def test_lambda_one_half_makes_anchors_between_both_parents(trained):
    quality = trained[0.5]
    assert abs(quality["cos_first"] - quality["cos_second"]) < 0.35
    assert quality["cos_second"] > trained[1.0]["cos_second"] + 0.3


def test_anchors_of_a_trained_hallucinator_do_not_collapse(trained):
    assert trained[0.5]["spread"] > 0.1 and trained[0.5]["rank"] > 3


def test_training_leaves_the_features_and_the_classifier_alone(rng):
    classifier = torch.nn.Linear(6, 3).requires_grad_(False)
    features, labels = torch.rand(60, 6, generator=rng), torch.arange(60) % 3
    before = features.clone(), classifier.weight.clone()
    hallucinator = Hallucinator(6)
    start = hallucinator.layers[0].weight.clone()
    optimiser = torch.optim.Adam(hallucinator.parameters())
    train_hallucinator(
        hallucinator, optimiser, features, labels, classifier, 2, rng, lambda_p=0.5, similarity_weight=1.0
    )
    assert torch.equal(features, before[0]) and torch.equal(classifier.weight, before[1])
    assert not torch.equal(hallucinator.layers[0].weight, start)


def test_one_class_leaves_the_hallucinator_as_it_is(rng):
    hallucinator = Hallucinator(6)
    start = hallucinator.layers[0].weight.clone()
    features, labels = torch.rand(20, 6, generator=rng), torch.zeros(20, dtype=torch.int64)
    train_hallucinator(
        hallucinator, torch.optim.Adam(hallucinator.parameters()), features, labels, None, 3, rng, lambda_p=0.5,
        similarity_weight=1.0,
    )  # fmt: skip
    assert torch.equal(hallucinator.layers[0].weight, start)


# -- describing anchors


def test_interpolated_anchors_lie_on_the_line_and_carry_the_first_parents_class():
    features = torch.tensor([[0.0, 0.0], [10.0, 20.0]])
    anchors = interpolate(features, torch.tensor([4, 7]), torch.tensor([[1, 0], [0, 1]]), share=0.6)
    assert anchors.features.tolist() == [[6.0, 12.0], [4.0, 8.0]] and anchors.labels.tolist() == [7, 4]


@pytest.fixture
def easy(rng):
    labels = torch.arange(90) % 3
    return torch.rand(90, 8, generator=rng) + F.one_hot(labels, 8), labels


def test_identical_anchors_are_told_as_a_collapse(easy, rng):
    features, labels = easy
    pairs = draw_pairs(labels, 20, rng)
    one_each = torch.eye(3, 8)[labels[pairs[:, 0]]] * 5
    quality = describe_anchors(Anchors(one_each, labels[pairs[:, 0]], pairs), features, one_each[:, :3], labels)
    assert quality["spread"] == pytest.approx(0, abs=1e-6) and quality["rank"] == pytest.approx(2, abs=0.01)
    same = torch.ones(60, 8)
    assert describe_anchors(Anchors(same, labels[pairs[:, 0]], pairs), features, same[:, :3], labels)["rank"] <= 1.01


def test_copies_of_the_first_parent_are_told_as_copies(easy, rng):
    features, labels = easy
    pairs = draw_pairs(labels, 300, rng)
    copies = interpolate(features, labels, pairs, share=1.0)
    quality = describe_anchors(copies, features, F.one_hot(copies.labels, 3).float(), labels)
    assert quality["cos_first"] == pytest.approx(1, abs=1e-5) and quality["cos_second"] < 0.5
    assert quality["spread"] == pytest.approx(1, abs=0.15) and quality["drift"] == 0


def test_drift_is_the_share_classified_as_the_second_parents_class(easy, rng):
    features, labels = easy
    pairs = draw_pairs(labels, 4, rng)
    second = F.one_hot(labels[pairs[:, 1]], 3).float()
    logits = second.clone()
    logits[:3] = F.one_hot(labels[pairs[:3, 0]], 3).float()
    anchors = interpolate(features, labels, pairs)
    assert describe_anchors(anchors, features, logits, labels)["drift"] == pytest.approx(9 / 12)
