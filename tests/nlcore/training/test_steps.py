"""The means of an epoch that methods write with."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nlcore import TrainConfig
from nlcore.methods import METHODS
from nlcore.training import distributed
from nlcore.training.engine import run
from nlcore.training.observe import observe
from nlcore.training.run import prepare
from nlcore.training.steps import Steps


def test_mixing_draws_one_lambda_and_one_permutation_for_samples_and_targets():
    drawn = []

    class Rng:
        def beta(self, *alphas):
            drawn.append(alphas)
            return 0.2

    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3)).tolist()
    steps = Steps(SimpleNamespace(rng=Rng(), generator=generator))
    inputs, targets = torch.arange(6.0).view(6, 1, 1, 1), torch.eye(6)
    mixed, labels = steps.mixed(inputs, targets, 0.7)
    assert drawn == [(0.7, 0.7)]
    for i in range(6):
        torch.testing.assert_close(mixed[i], 0.8 * inputs[i] + 0.2 * inputs[order[i]])
        torch.testing.assert_close(labels[i], 0.8 * targets[i] + 0.2 * targets[order[i]])


def test_a_large_alpha_mixes_by_halves():
    steps = Steps(SimpleNamespace(rng=np.random.default_rng(0), generator=torch.Generator().manual_seed(0)))
    _, even = steps.mixed(torch.zeros(4, 1), torch.eye(4), 1e6)
    assert even.diagonal().min() == pytest.approx(0.5, abs=0.01)


def test_each_process_has_its_own_part_of_a_batch(monkeypatch):
    rows = torch.arange(7)
    assert torch.equal(Steps(None).own(rows), rows)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    assert Steps(None).own(rows).tolist() == [1, 3, 5]


def test_a_method_may_look_at_all_samples_before_every_epoch_of_its_loss(monkeypatch):
    """By the average weights of the network that the memory belongs to."""
    seen = []

    def note(look, state, settings, memory):
        learner = next(one for one in state.learners if one.memory is memory)
        assert torch.equal(look().logits, observe(state, learner=learner).logits)
        memory["looks"] = memory.get("looks", 0) + 1
        seen.append((state.epoch, state.learners.index(learner), settings))

    monkeypatch.setattr(METHODS["label_smoothing"], "prepare", note, raising=False)
    config = TrainConfig(method="label_smoothing", networks=2, subset=100, epochs=3, warmup_epochs=1, device="cpu")
    config = config.resolved()
    *_, last = run(config, *prepare(config))
    assert seen == [(epoch, number, config.settings) for epoch in (1, 2) for number in (0, 1)]
    assert [learner.memory for learner in last.state.learners] == [{"looks": 2}] * 2
