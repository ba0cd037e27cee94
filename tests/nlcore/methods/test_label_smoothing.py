"""Label smoothing against a loop."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from nlcore import TrainConfig, train
from nlcore.basics.errors import InputError
from nlcore.methods.label_smoothing import LabelSmoothingConfig, batch_loss


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_the_loss_equals_that_of_a_loop(smoothing, rng):
    logits, labels = 2 * torch.randn(20, 4, generator=rng), torch.randint(0, 4, (20,), generator=rng)
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(map(math.exp, row)))
        for c in range(4):
            target = (1 - smoothing) * (c == label) + smoothing / 4
            total -= target * (row[c] - log_sum)
    loss = batch_loss(SimpleNamespace(logits=logits, labels=labels), LabelSmoothingConfig(smoothing), {})
    assert float(loss) == pytest.approx(total / 20, rel=1e-5)


def test_without_smoothing_it_is_cross_entropy(rng):
    logits, labels = torch.randn(8, 3, generator=rng), torch.randint(0, 3, (8,), generator=rng)
    loss = batch_loss(SimpleNamespace(logits=logits, labels=labels), LabelSmoothingConfig(0.0), {})
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))


def test_a_smoothing_of_one_leaves_no_label_and_is_refused():
    with pytest.raises(InputError, match=r"smoothing must lie in \[0, 1\), not 1"):
        TrainConfig(method="label_smoothing", settings=LabelSmoothingConfig(1.0)).resolved()


def test_no_probability_grows_beyond_its_target(learnt):
    """Cross-entropy is surer of the labels that it has learnt than any target of label smoothing is."""
    state, plain = learnt("label_smoothing").state, learnt("ce").state
    sure = [float(sum(_probs(each)) / len(each.images)) for each in (state, plain)]
    assert sure[0] < sure[1] - 0.1


def _probs(state) -> torch.Tensor:
    from nlcore.training.observe import observe

    return observe(state).probs.amax(1)


def test_the_presets_differ_in_nothing_but_the_smoothing():
    tuned, paper = (
        TrainConfig(method="label_smoothing", preset=preset).resolved().settings for preset in ("tuned", "paper")
    )
    assert paper.smoothing == 0.1 < tuned.smoothing
    assert train(TrainConfig(method="label_smoothing", subset=100, epochs=2, device="cpu")).history[0]["phase"] == "own"
