"""Co-teaching: who chooses what for whom, how much is left out and when, and the estimate of the forget rate."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nlcore import Dataset, InputError, TrainConfig, train
from nlcore.methods.coteaching import (
    CoteachingConfig,
    estimate_forget_rate,
    forget_rate,
    forget_share,
    own_epoch,
    small_losses,
)
from nlcore.training.config import with_overrides
from nlcore.training.engine import run
from nlcore.training.run import prepare
from nlcore.training.state import start
from nlcore.training.steps import Steps


def small(**changes) -> TrainConfig:
    return TrainConfig(**{"method": "coteaching", "subset": 200, "epochs": 3, "device": "cpu"} | changes)


def fresh(**changes):
    config = small(**changes).resolved()
    return start(config, *prepare(config))


# -- the rules


@pytest.mark.parametrize("share", [0.0, 0.2, 0.45, 0.9, 0.99])
@pytest.mark.parametrize("size", [1, 2, 10, 37])
def test_the_small_losses_are_those_of_a_loop(share, size, rng):
    losses = torch.rand(size, generator=rng)
    left = list(range(size))
    for _ in range(min(size - 1, -int(-round(share * size, 9) // 1))):  # leave out the largest, one after the other
        left.remove(max(left, key=lambda i: float(losses[i])))
    assert set(small_losses(losses, share).tolist()) == set(left)


def test_binary_fractions_lose_no_sample():
    """In binary, (1 - 0.9) 10 and (1 - 0.8) 10 are a little less than 1 and 2."""
    losses = torch.arange(10.0)
    assert [len(small_losses(losses, share)) for share in (0.9, 0.8, 0.7, 0.5)] == [1, 2, 3, 5]


@pytest.mark.parametrize("rise", [2, 5, 10])
def test_the_share_grows_as_that_of_the_public_code(rise):
    schedule = np.ones(20) * 0.4
    schedule[:rise] = np.linspace(0, 0.4, rise)
    assert [forget_share(0.4, epoch, rise) for epoch in range(20)] == pytest.approx(schedule.tolist())


def test_the_rate_is_the_one_that_was_set_else_the_nominal_one_else_the_estimate():
    named, unnamed = SimpleNamespace(rate=0.4), SimpleNamespace(rate=None)
    assert forget_rate(CoteachingConfig(0.2), named, {"estimate": 0.3}) == 0.2
    assert forget_rate(CoteachingConfig(0.0), named, {}) == 0.0
    assert forget_rate(CoteachingConfig(), named, {"estimate": 0.3}) == 0.4
    assert forget_rate(CoteachingConfig(), unnamed, {"estimate": 0.3}) == 0.3
    assert forget_rate(CoteachingConfig(), unnamed, {}) == 0.0


# -- the epoch


class Watched(Steps):
    """Steps that note what is trained on."""

    def __init__(self, state):
        super().__init__(state)
        object.__setattr__(self, "updates", [])

    def update(self, learner, loss):
        self.updates.append(
            (next(k for k, one in enumerate(self.state.learners) if one is learner), float(loss.detach()))
        )
        return super().update(learner, loss)


def test_each_network_trains_on_the_samples_that_the_other_finds_easy(monkeypatch):
    state = fresh(rate=0.5, batch_size=40)
    state.epoch = 100  # the whole forget rate
    outputs, batches = [], []
    for learner in state.learners:
        forward = learner.trainee.forward

        def noted(images, *args, forward=forward, **kwargs):
            logits, features = forward(images, *args, **kwargs)
            outputs.append(logits.detach())
            return logits, features

        monkeypatch.setattr(learner.trainee, "forward", noted)
    steps = Watched(state)
    original = Steps.batches
    monkeypatch.setattr(Steps, "batches", lambda self, *a: (batches.append(b) or b for b in original(self, *a)))
    mean = own_epoch(steps, None, CoteachingConfig())
    assert len(outputs) == 2 * len(batches) == len(steps.updates) == 10
    for number, rows in enumerate(batches):
        losses = [
            [-float(row.log_softmax(0)[state.given_labels[i]]) for row, i in zip(logits, rows.tolist(), strict=True)]
            for logits in outputs[2 * number : 2 * number + 2]
        ]
        for k in (0, 1):
            easy = sorted(range(40), key=lambda i: losses[1 - k][i])[:20]
            which, loss = steps.updates[2 * number + k]
            assert which == k and loss == pytest.approx(sum(losses[k][i] for i in easy) / 20, rel=1e-4)
    assert mean == pytest.approx(sum(loss for _, loss in steps.updates) / 10, rel=1e-5)


def test_in_the_first_epoch_every_sample_teaches():
    state = fresh(batch_size=40)
    steps = Watched(state)
    own_epoch(steps, None, CoteachingConfig())
    assert Counter(which for which, _ in steps.updates) == {0: 5, 1: 5}
    assert forget_share(0.4, 0, 5) == 0


def test_a_last_batch_of_one_sample_is_left_out():
    """Of 200 vectors in batches of 199 one is left, of which batch norm has no statistics."""
    vectors = Dataset(
        "rows", torch.randn(200, 3), torch.arange(200) % 2, torch.randn(4, 3), torch.arange(4) % 2, ("a", "b")
    )
    config = TrainConfig(method="coteaching", batch_size=199, full_batches=False, epochs=2, network="mlp", device="cpu")
    assert len(train(config, vectors).history) == 2


# -- the estimate


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_the_estimate_finds_the_share_of_large_losses(rate, rng):
    n = 2000
    wrong = torch.rand(n, generator=rng) < rate
    losses = torch.where(wrong, 4.0, 0.5) + 0.4 * torch.randn(n, generator=rng).abs()
    losses[torch.randperm(n, generator=rng)[:100]] = torch.nan  # not met in this epoch
    assert estimate_forget_rate(losses, torch.zeros(n, dtype=torch.int64), 2) == pytest.approx(rate, abs=0.03)


def test_losses_that_are_all_alike_forget_nothing():
    assert estimate_forget_rate(torch.full((200,), 0.7), torch.zeros(200, dtype=torch.int64), 2) == 0


def test_labels_without_a_nominal_rate_have_it_estimated_and_kept_after_the_rise(tmp_path):
    path = tmp_path / "labels.npy"
    nominal = small(subset=600, rate=0.5)
    _, noisy = prepare(nominal.resolved())
    np.save(path, noisy.given_labels.numpy())
    config = small(subset=600, noise=f"file:{path}", epochs=9)
    config = with_overrides(config, {"rise_epochs": 6}).resolved()
    estimates = [epoch.state.learners[0].memory["estimate"] for epoch in run(config, *prepare(config))]
    assert config.rate is None and noisy.rate == pytest.approx(0.45, abs=0.03)
    assert estimates[5] == pytest.approx(noisy.rate, abs=0.15) and estimates[5:] == [estimates[5]] * 4
    assert len(set(estimates[:6])) == 6


# -- the configuration


@pytest.mark.parametrize("preset", ["tuned", "paper"])
def test_it_takes_two_networks_and_refuses_one(preset):
    assert small(preset=preset).resolved().networks == 2
    with pytest.raises(InputError, match=r"coteaching trains two networks.*set networks to 2, not 1") as error:
        small(preset=preset, networks=1).resolved()
    assert "\n" not in str(error.value)


def test_the_paper_preset_has_no_augmentation_and_the_papers_length_on_cifar():
    config = TrainConfig(dataset="cifar10", method="coteaching", preset="paper", budget="long").resolved()
    assert (config.pad, config.flip, config.weight_decay) == (0, False, 0.0)
    assert (config.epochs, config.batch_size, config.settings.rise_epochs) == (200, 128, 10)


@pytest.mark.parametrize(("name", "value"), [("forget_rate", 1.0), ("forget_rate", -0.1), ("rise_epochs", 0)])
def test_a_setting_out_of_range_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must "):
        small(settings=CoteachingConfig(**{name: value})).resolved()


def test_fewer_wrong_labels_are_memorised_than_by_cross_entropy(learnt):
    ours, plain = learnt("coteaching"), learnt("ce")
    assert ours.memorised < 0.6 * plain.memorised and ours.recovered > plain.recovered + 0.08
