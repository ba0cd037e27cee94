"""Forward correction: the loss and the transition, against plain loops."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from nlcore import InputError, TrainConfig
from nlcore.methods.forward import ForwardConfig, anchor_points, batch_loss, prepare
from nlcore.selection.division import Snapshot
from nlcore.selection.voting import estimate_transition
from nlcore.training.config import with_overrides
from nlcore.training.engine import run
from nlcore.training.run import prepare as data_of


def transition(k: int, rng) -> torch.Tensor:
    return (torch.eye(k) * 1.5 + torch.rand(k, k, generator=rng)).softmax(1)


def noisy_predictions(n: int, k: int, rng) -> tuple[Snapshot, torch.Tensor, torch.Tensor]:
    """A network that knows how labels of K classes are distributed, the labels, and T."""
    true_transition = transition(k, rng)
    true = torch.arange(n) % k
    labels = torch.multinomial(true_transition[true], 1, generator=rng).squeeze(1)
    logits = true_transition[true].log() + 0.01 * torch.randn(n, k, generator=rng)
    return Snapshot(logits, logits, F.cross_entropy(logits, labels, reduction="none")), labels, true_transition


def test_the_loss_equals_that_of_a_loop(rng):
    logits, labels, t = (
        2 * torch.randn(30, 4, generator=rng),
        torch.randint(0, 4, (30,), generator=rng),
        transition(4, rng),
    )
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        weights = [math.exp(x) for x in row]
        total -= math.log(sum(w / sum(weights) * float(t[c, label]) for c, w in enumerate(weights)))
    loss = batch_loss(SimpleNamespace(logits=logits, labels=labels), ForwardConfig(), {"transition": t})
    assert float(loss) == pytest.approx(total / 30, rel=1e-5)


def test_with_labels_that_never_go_wrong_it_is_cross_entropy(rng):
    logits, labels = torch.randn(8, 3, generator=rng), torch.randint(0, 3, (8,), generator=rng)
    loss = batch_loss(SimpleNamespace(logits=logits, labels=labels), ForwardConfig(), {"transition": torch.eye(3)})
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))


def test_a_network_sure_of_a_class_that_is_never_labelled_so_has_a_finite_gradient():
    logits = torch.tensor([[500.0, 0.0]], requires_grad=True)
    loss = batch_loss(
        SimpleNamespace(logits=logits, labels=torch.tensor([1])), ForwardConfig(), {"transition": torch.eye(2)}
    )
    loss.backward()
    assert bool(loss.isfinite()) and bool(logits.grad.isfinite().all())


def test_the_best_network_is_sure_of_the_true_class_and_not_of_the_given_label(rng):
    """Labels of class 0 are 1 in 40 % of cases: the loss is smallest where the network says class 0."""
    t = torch.tensor([[0.6, 0.4], [0.0, 1.0]])
    labels = torch.tensor([0] * 6 + [1] * 4)

    def loss(p: float) -> float:
        logits = torch.tensor([p, 1 - p]).log().expand(10, 2)
        return float(batch_loss(SimpleNamespace(logits=logits, labels=labels), ForwardConfig(), {"transition": t}))

    assert loss(0.999) < loss(0.9) < loss(0.6)


@pytest.mark.parametrize("percentile", [100.0, 97.0, 50.0, 0.0])
def test_anchor_points_are_those_of_a_loop(percentile, rng):
    probs = torch.randn(90, 4, generator=rng).softmax(1)
    found = anchor_points(probs, percentile)
    for c in range(4):
        ascending = sorted(range(90), key=lambda i: float(probs[i, c]))
        anchor = ascending[math.floor(percentile / 100 * 89)]
        assert torch.equal(found[c], probs[anchor])
    torch.testing.assert_close(found.sum(1), torch.ones(4))


def test_an_anchor_point_below_the_top_is_no_outlier(rng):
    snapshot, _, true = noisy_predictions(3000, 3, rng)
    probs = snapshot.probs.clone()
    probs[:20] = torch.tensor([0.98, 0.01, 0.01])  # sure of class 0 for a reason of their own
    assert (anchor_points(probs, 100.0)[0] - true[0]).abs().max() > 0.2
    assert (anchor_points(probs, 97.0)[0] - true[0]).abs().max() < 0.05


@pytest.mark.parametrize("estimate", ["confusion", "anchor_points"])
def test_the_transition_is_found_and_estimated_once(estimate, rng):
    snapshot, labels, true = noisy_predictions(6000, 3, rng)
    memory, looks = {}, []

    def look():
        looks.append(1)
        return snapshot

    for _ in range(3):
        prepare(look, SimpleNamespace(given_labels=labels), ForwardConfig(estimate), memory)
    assert len(looks) == 1
    expected = (
        estimate_transition(snapshot.logits, labels) if estimate == "confusion" else anchor_points(snapshot.probs, 97)
    )
    assert torch.equal(memory["transition"], expected)
    if estimate == "anchor_points":
        torch.testing.assert_close(memory["transition"], true, atol=0.03, rtol=0)


def test_it_warms_up_with_cross_entropy_and_then_keeps_its_transition():
    config = TrainConfig(method="forward", subset=200, epochs=6, networks=2, device="cpu").resolved()
    assert config.warmup_epochs == 2
    transitions = []
    for epoch in run(config, *data_of(config)):
        found = [learner.memory.get("transition") for learner in epoch.state.learners]
        assert epoch.row["phase"] == ("warmup" if epoch.row["epoch"] <= 2 else "own")
        assert (found[0] is None) == (epoch.row["epoch"] <= 2)
        transitions.append(found)
    assert not torch.equal(*transitions[2])  # each network has its own
    assert all(torch.equal(a, b) for a, b in zip(transitions[2], transitions[5], strict=True))


def test_the_estimate_on_digits_is_near_the_true_transition(learnt):
    state = learnt("forward").state
    true = torch.zeros(10, 10).index_put((state.true_labels, state.given_labels), torch.ones(600), accumulate=True)
    found = state.learners[0].memory["transition"]
    assert (found - true / true.sum(1, keepdim=True)).abs().mean() < 0.05


def test_the_paper_preset_on_cifar_has_the_papers_training():
    config = TrainConfig(dataset="cifar10", method="forward", preset="paper", budget="long").resolved()
    assert (config.learning_rate, config.weight_decay, config.batch_size, config.epochs) == (0.1, 1e-4, 128, 120)
    assert (config.settings.estimate, config.settings.percentile) == ("anchor_points", 97.0)
    config = TrainConfig(dataset="cifar100", method="forward", preset="paper", budget="long").resolved()
    assert (config.weight_decay, config.epochs, config.settings.percentile) == (1e-3, 150, 100.0)


def test_an_unknown_estimate_lists_the_known_ones():
    with pytest.raises(InputError, match="unknown estimate 'guess'; choose one of: confusion, anchor_points"):
        with_overrides(TrainConfig(method="forward"), {"estimate": "guess"})
    with pytest.raises(InputError, match=r"percentile must lie in \[0, 100\]"):
        with_overrides(TrainConfig(method="forward"), {"percentile": 101.0}).resolved()


def test_fewer_wrong_labels_are_memorised_than_by_cross_entropy(learnt):
    ours, plain = learnt("forward"), learnt("ce")
    assert ours.memorised < 0.8 * plain.memorised and ours.recovered > plain.recovered + 0.05
