import copy

import pytest
import torch
from torch import nn

from nlcore import InputError
from nlcore.networks import NETWORKS, average_weights, build_network, frozen_copy, recalibrate_batch_norm, seeded


@pytest.mark.parametrize(("name", "channels", "size"), [("digits_cnn", 1, 8), ("small", 3, 32)])
def test_forward_gives_logits_and_pooled_non_negative_features_in_float32(name, channels, size, rng):
    network = build_network(name, channels, 7, seed=0)
    logits, features = network(torch.randn(5, channels, size, size, generator=rng))
    assert logits.shape == (5, 7) and features.shape == (5, NETWORKS[name][-1])
    assert features.min() >= 0 and logits.dtype == features.dtype == torch.float32


def test_features_are_the_mean_over_the_last_feature_map_and_logits_its_linear_image(rng):
    network = build_network("digits_cnn", 1, 10, seed=0).eval()
    images = torch.randn(3, 1, 8, 8, generator=rng)
    logits, features = network(images)
    maps = network.body(images)
    assert maps.shape == (3, 64, 4, 4)
    torch.testing.assert_close(features, maps.flatten(2).sum(2) / 16)
    torch.testing.assert_close(logits, features @ network.classifier.weight.T + network.classifier.bias)
    torch.testing.assert_close(network.classify(features), logits)


def test_bfloat16_convolutions_still_give_float32_outputs(rng):
    network = build_network("small", 3, 10, seed=0).eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits, features = network(torch.randn(2, 3, 32, 32, generator=rng))
    assert logits.dtype == features.dtype == torch.float32


def test_the_small_network_costs_about_twenty_million_multiply_adds():
    cost = []
    network = build_network("small", 3, 10, seed=0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda m, i, o: cost.append(o[0].numel() * m.weight[0].numel()))
    network(torch.zeros(2, 3, 32, 32))
    assert len(cost) == 6 and 15e6 < sum(cost) < 25e6


def test_weights_depend_on_the_seed_alone_and_the_global_state_stays(unchanged_global_state):
    with unchanged_global_state():
        first = build_network("digits_cnn", 1, 10, seed=3)
    torch.rand(5)
    again, other = build_network("digits_cnn", 1, 10, seed=3), build_network("digits_cnn", 1, 10, seed=4)
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_an_unknown_network_lists_the_valid_ones():
    with pytest.raises(InputError, match=r"'resnet'.*digits_cnn, small"):
        build_network("resnet", 1, 10, 0)


def test_seeded_restores_the_global_state_even_after_an_error(unchanged_global_state):
    with unchanged_global_state(), pytest.raises(ZeroDivisionError), seeded(1):
        torch.rand(3)
        raise ZeroDivisionError


def test_average_weights_move_by_one_minus_decay_and_leave_batch_norm_statistics(rng):
    student = build_network("digits_cnn", 1, 10, seed=0)
    teacher = frozen_copy(build_network("digits_cnn", 1, 10, seed=1))
    student(torch.randn(4, 1, 8, 8, generator=rng))  # moves the student's running statistics
    before = copy.deepcopy(teacher)
    average_weights(teacher, student, decay=0.9)
    for old, new, learnt in zip(before.parameters(), teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * learnt)
    for old, new in zip(before.buffers(), teacher.buffers(), strict=True):
        assert torch.equal(old, new)


def test_a_frozen_copy_does_not_follow_and_cannot_be_trained():
    network = build_network("digits_cnn", 1, 10, seed=0)
    frozen = frozen_copy(network)
    with torch.no_grad():
        network.classifier.bias += 1
    assert not torch.equal(frozen.classifier.bias, network.classifier.bias)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_recalibrated_statistics_are_the_mean_over_the_batches_and_momentum_comes_back(rng):
    network = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3))
    network(torch.randn(8, 2, 3, 3, generator=rng) * 50 + 100)  # statistics of other images, to be forgotten
    batches = [torch.randn(6, 2, 3, 3, generator=rng) + shift for shift in (0.0, 1.0, 5.0)]
    recalibrate_batch_norm(network, batches)
    expected_mean = sum(b.mean((0, 2, 3)) for b in batches) / 3
    expected_var = sum(b.var((0, 2, 3)) for b in batches) / 3
    torch.testing.assert_close(network[0].running_mean, expected_mean)
    torch.testing.assert_close(network[0].running_var, expected_var)
    assert network[0].momentum == 0.3


def test_recalibration_leaves_the_weights_alone(rng):
    network = build_network("digits_cnn", 1, 10, seed=0)
    before = [p.clone() for p in network.parameters()]
    recalibrate_batch_norm(network, [torch.randn(4, 1, 8, 8, generator=rng)])
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
