import copy
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model, get_model_weights

from nlcore import InputError
from nlcore.basics.chance import seeded
from nlcore.training.networks import (
    CONVOLUTIONS,
    NETWORKS,
    VECTOR_NETWORKS,
    PreActBlock,
    average_weights,
    build_network,
    frozen_copy,
    recalibrate_batch_norm,
)


@pytest.mark.parametrize(
    ("name", "channels", "size"), [("digits_cnn", 1, 8), ("glyphs_small", 1, 16), ("small", 3, 32)]
)
def test_forward_gives_logits_and_pooled_non_negative_features_in_float32(name, channels, size, rng):
    network = build_network(name, channels, 7, seed=0)
    logits, features = network(torch.randn(5, channels, size, size, generator=rng))
    assert logits.shape == (5, 7) and features.shape == (5, CONVOLUTIONS[name][-1])
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
    with pytest.raises(InputError, match=r"'resnet'.*digits_cnn, glyphs_small, small"):
        build_network("resnet", 1, 10, 0)


def test_average_weights_move_by_one_minus_decay_and_leave_batch_norm_statistics(rng):
    student = build_network("digits_cnn", 1, 10, seed=0)
    teacher = frozen_copy(build_network("digits_cnn", 1, 10, seed=1))
    student(torch.randn(4, 1, 8, 8, generator=rng))  # moves the student's running statistics
    before = copy.deepcopy(teacher)
    average_weights(list(teacher.parameters()), list(student.parameters()), decay=0.9)
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


# -- the larger networks


def flops(network, *shape) -> int:
    """Floating-point operations of one forward pass, two for a multiply-add."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(shape))
    return counter.get_total_flops()


def test_preact_resnet18_has_the_size_and_the_cost_of_the_familys():
    network = build_network("preact_resnet18", 3, 10, seed=0)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(11.17e6, rel=1e-3)
    assert flops(network, 1, 3, 32, 32) == pytest.approx(1.11e9, rel=0.005)
    assert sum(isinstance(module, PreActBlock) for module in network.modules()) == 8


def test_tiny_costs_less_than_half_of_small():
    assert flops(build_network("tiny", 3, 10, seed=0), 1, 3, 32, 32) == pytest.approx(17e6, rel=0.03)
    assert flops(build_network("small", 3, 10, seed=0), 1, 3, 32, 32) == pytest.approx(39e6, rel=0.03)


@pytest.mark.parametrize(
    ("name", "size", "stem", "map_shape"),
    [
        ("preact_resnet18", 32, "3x3, stride 1", (512, 4, 4)),
        ("preact_resnet18", 64, "3x3, stride 2", (512, 4, 4)),
        ("resnet34", 32, "3x3, stride 1", (512, 4, 4)),
        ("resnet34", 64, "3x3, stride 2", (512, 4, 4)),
        ("resnet34", 128, "7x7, stride 2, pool", (512, 4, 4)),
        ("resnet50", 32, "3x3, stride 1", (2048, 4, 4)),
        ("resnet50", 128, "7x7, stride 2, pool", (2048, 4, 4)),
    ],
)
def test_the_stem_fits_the_size_of_the_images(name, size, stem, map_shape):
    network = build_network(name, 3, 10, seed=0, image_size=size).eval()
    assert network.stem == stem
    with torch.no_grad():
        assert network.body(torch.zeros(1, 3, size, size)).shape == (1, *map_shape)


@pytest.mark.parametrize("name", ["preact_resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("size", [32, 128])
def test_large_networks_take_grey_images_too(name, size):
    network = build_network(name, 1, 10, seed=0, image_size=size).eval()
    with torch.no_grad():
        logits, _ = network(torch.zeros(1, 1, size, size))
    assert logits.shape == (1, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_float32_whose_logits_are_those_of_its_features(name, rng):
    network = build_network(name, 3, 7, seed=0).eval()
    shape = (2, 3) if name in VECTOR_NETWORKS else (2, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits, features = network(torch.randn(shape, generator=rng))
        again = network.classify(features)
    assert logits.dtype == features.dtype == torch.float32
    assert logits.shape == (2, 7) and features.shape == (2, network.classifier.in_features)
    assert torch.equal(again, logits) and not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("name", ["preact_resnet18", "resnet34"])
def test_weights_of_large_networks_depend_on_the_seed_alone(name, unchanged_global_state):
    with unchanged_global_state():
        first = build_network(name, 3, 10, seed=3)
    torch.rand(5)
    again, other = build_network(name, 3, 10, seed=3), build_network(name, 3, 10, seed=4)
    weights = [list(network.parameters()) for network in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(*weights[:2], strict=True))
    assert not torch.equal(weights[0][0], weights[2][0])


def normalised(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    """Batch norm in evaluation and ReLU, by its formula."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shape = (1, -1, 1, 1)
    return ((x - norm.running_mean.view(shape)) * scale.view(shape) + norm.bias.view(shape)).clamp(min=0)


def convolved(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """A convolution as a matrix product over the patches of each place."""
    size = weight.shape[2]
    patches = nn.functional.unfold(x, size, padding=size // 2, stride=stride)
    out = weight.flatten(1) @ patches
    return out.view(len(x), len(weight), -(-x.shape[2] // stride), -1)


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 2)])
def test_a_pre_activation_block_by_its_formula(channels, stride, rng):
    """x' = relu(bn1 x); block = (x, or a 1 x 1 convolution of x') + conv2 relu(bn2 conv1 x')."""
    block = PreActBlock(4, channels, stride)
    for norm in (block.norm1, block.norm2):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(len(tensor), generator=rng) + 0.5)
    x = torch.randn(2, 4, 6, 6, generator=rng)
    activated = normalised(x, block.norm1)
    straight = x if stride == 1 else convolved(activated, block.shortcut.weight, 2)
    inner = normalised(convolved(activated, block.conv1.weight, stride), block.norm2)
    expected = straight + convolved(inner, block.conv2.weight, 1)
    torch.testing.assert_close(block.eval()(x), expected, atol=1e-5, rtol=1e-4)
    assert (block.shortcut is None) == (stride == 1)


def test_features_of_preact_resnet18_are_not_activated(rng):
    network = build_network("preact_resnet18", 3, 10, seed=0).eval()
    with torch.no_grad():
        _, features = network(torch.randn(2, 3, 32, 32, generator=rng))
    assert features.min() < 0


@pytest.mark.parametrize("name", ["small", "tiny", "digits_cnn", "preact_resnet18"])
def test_pretrained_weights_that_do_not_exist_are_refused(name):
    with pytest.raises(InputError, match=f"no pretrained weights for {name}; only for resnet34 and resnet50"):
        build_network(name, 3, 10, seed=0, pretrained=True)


def test_pretrained_weights_that_cannot_be_downloaded_are_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*arguments, **options):
        raise URLError("no route\nto host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(InputError, match=r"cannot download the ImageNet weights of resnet34: .*no route") as error:
        build_network("resnet34", 3, 10, seed=0, image_size=224, pretrained=True)
    assert "\n" not in str(error.value)


def test_pretrained_weights_stay_but_for_the_stem_and_the_classifier(tmp_path, monkeypatch):
    """A made file stands in for the download, which torch.hub would keep in the same place."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with seeded(7):
        stored = get_model("resnet34", weights=None)
    file = tmp_path / "hub" / "checkpoints" / get_model_weights("resnet34").DEFAULT.url.rsplit("/", 1)[1]
    file.parent.mkdir(parents=True)
    torch.save(stored.state_dict(), file)
    large = build_network("resnet34", 3, 10, seed=0, image_size=224, pretrained=True)
    small = build_network("resnet34", 3, 10, seed=0, image_size=32, pretrained=True)
    assert torch.equal(large.body[0].weight, stored.conv1.weight) and small.body[0].weight.shape == (64, 3, 3, 3)
    for network in (large, small):
        assert torch.equal(network.body[-1][0].conv1.weight, stored.layer4[0].conv1.weight)
        assert network.classifier.out_features == 10


def test_images_that_are_too_small_for_a_network_are_refused():
    with pytest.raises(InputError, match="small needs images of 4 pixels at least, and these have 3"):
        build_network("small", 3, 2, 0, image_size=3)
    assert build_network("small", 3, 2, 0, image_size=4)(torch.zeros(2, 3, 4, 4))[0].shape == (2, 2)
