"""MixUp alone: what is mixed with what, against a loop."""

import pytest
import torch

from nlcore import Dataset, InputError, TrainConfig, train
from nlcore.methods.mixup import MixUpConfig, own_epoch
from nlcore.training.run import prepare
from nlcore.training.state import start
from nlcore.training.steps import Steps


def small(**changes) -> TrainConfig:
    return TrainConfig(**{"method": "mixup", "subset": 200, "epochs": 2, "device": "cpu"} | changes)


def test_the_loss_of_an_epoch_is_that_of_a_loop_over_mixed_pairs(monkeypatch):
    """Every batch: the same lambda and permutation for samples and labels, soft cross-entropy, one step."""
    config = small(batch_size=50, learning_rate=1e-9).resolved()  # the network stays what it is
    state = start(config, *prepare(config))
    drawn, views, inputs, logits = [], [], [], []
    beta, weak, forward = state.rng.beta, Steps.weak, state.learners[0].trainee.forward

    class Rng:
        def beta(self, *alphas):
            drawn.append((alphas, beta(*alphas)))
            return drawn[-1][1]

    def noted(images):
        output = forward(images)
        inputs.append(images)
        logits.append(output[0].detach())
        return output

    state.rng = Rng()
    monkeypatch.setattr(Steps, "weak", lambda self, rows: views.append((rows, weak(self, rows))) or views[-1][1])
    monkeypatch.setattr(state.learners[0].trainee, "forward", noted)
    mean = own_epoch(Steps(state), None, MixUpConfig(mixup_alpha=2.0))
    assert len(views) == len(inputs) == 4 and [alphas for alphas, _ in drawn] == [(2.0, 2.0)] * 4
    total = 0.0
    for (rows, images), mixed, output, (_, lam) in zip(views, inputs, logits, drawn, strict=True):
        lam = max(lam, 1 - lam)
        labels, partners = state.given_labels[rows].tolist(), []
        for i in range(50):
            rest = (mixed[i] - lam * images[i]) / (1 - lam)
            partners.append(int((images - rest).flatten(1).square().sum(1).argmin()))
            torch.testing.assert_close(mixed[i], lam * images[i] + (1 - lam) * images[partners[i]])
            log_p = output[i].log_softmax(0)
            total -= lam * float(log_p[labels[i]]) + (1 - lam) * float(log_p[labels[partners[i]]])
        assert len(set(partners)) > 40  # a permutation, but for images that look alike
    assert mean == pytest.approx(total / 200, rel=1e-4)


def test_a_last_batch_of_one_sample_is_left_out():
    vectors = Dataset(
        "rows", torch.randn(200, 3), torch.arange(200) % 2, torch.randn(4, 3), torch.arange(4) % 2, ("a", "b")
    )
    config = TrainConfig(method="mixup", batch_size=199, full_batches=False, epochs=2, network="mlp", device="cpu")
    assert len(train(config, vectors).history) == 2


def test_two_networks_are_trained_apart():
    one, two = (train(small(networks=networks)).history[-1] for networks in (1, 2))
    assert one["train_loss"] != two["train_loss"] and one["phase"] == two["phase"] == "own"


def test_the_paper_preset_mixes_more_where_there_is_more_noise():
    alphas = {rate: small(preset="paper", rate=rate).resolved().settings.mixup_alpha for rate in (0.2, 0.5, 0.8)}
    assert alphas == {0.2: 8.0, 0.5: 32.0, 0.8: 32.0}
    assert small(preset="paper", noise="given").resolved().settings.mixup_alpha == 8.0
    assert small(rate=0.8).resolved().settings.mixup_alpha == 1.0


def test_the_alpha_of_mixmatch_is_another():
    config = TrainConfig(method="mixup", dataset="clothing1m", noise="given", preset="paper").resolved()
    assert (config.ssl.alpha, config.settings.mixup_alpha) == (0.5, 8.0)


def test_an_alpha_of_zero_is_refused():
    with pytest.raises(InputError, match="mixup_alpha must be above 0, not 0"):
        small(settings=MixUpConfig(mixup_alpha=0.0)).resolved()


def test_fewer_wrong_labels_are_memorised_than_by_cross_entropy(learnt):
    ours, plain = learnt("mixup"), learnt("ce")
    assert ours.memorised < 0.5 * plain.memorised and ours.recovered > plain.recovered + 0.08
