import pytest
import torch

from nlcore import TrainConfig, train
from nlcore.training.engine import run
from nlcore.training.networks import recalibrate_batch_norm
from nlcore.training.observe import evaluate, observe
from nlcore.training.run import prepare
from nlcore.training.state import start


def small(**changes) -> TrainConfig:
    """300 digits, one epoch of warm-up and two of the method."""
    return TrainConfig(**{"subset": 300, "epochs": 3, "warmup_epochs": 1, "device": "cpu"} | changes)


def fresh(**changes):
    config = small(**changes).resolved()
    return start(config, *prepare(config))


def test_observing_sees_all_images_once_in_order_without_augmentation(monkeypatch):
    state = fresh()
    whole = observe(state)
    monkeypatch.setattr("nlcore.training.observe.OBSERVE_BATCH", 64)
    parts = observe(state)
    torch.testing.assert_close(whole.logits, parts.logits)
    assert whole.logits.shape == (300, 10) and whole.losses.shape == (300,)
    one = observe(state, state.images[17:18], state.given_labels[17:18])
    torch.testing.assert_close(one.features[0], whole.features[17], atol=1e-5, rtol=1e-4)
    expected = -whole.logits.log_softmax(1)[torch.arange(300), state.given_labels]
    torch.testing.assert_close(whole.losses, expected)


def test_observing_changes_neither_weights_nor_batch_norm():
    state = fresh()
    before = [t.clone() for t in state.teacher.state_dict().values()]
    observe(state), evaluate(state)
    assert all(torch.equal(a, b) for a, b in zip(before, state.teacher.state_dict().values(), strict=True))


def test_test_accuracy_is_the_share_of_right_predictions_in_per_cent():
    state = fresh()
    snapshot = observe(state, state.test_images, state.test_labels)
    right = sum(int(row.argmax()) == y for row, y in zip(snapshot.logits, state.test_labels.tolist(), strict=True))
    assert evaluate(state) == pytest.approx(100 * right / 450)


def test_two_networks_are_tested_on_their_summed_logits():
    config = small(networks=2, method="ce", epochs=2).resolved()
    state = [epoch for epoch in run(config, *prepare(config))][-1].state
    logits = [observe(state, state.test_images, state.test_labels, learner).logits for learner in state.learners]
    shares = [float(((a).argmax(1) == state.test_labels).double().mean()) for a in (*logits, logits[0] + logits[1])]
    assert evaluate(state) == pytest.approx(100 * shares[2])
    assert len(set(shares)) == 3  # neither network's alone


def test_recalibration_happens_only_where_it_is_asked_for(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "nlcore.training.observe.recalibrate_batch_norm", lambda *a: calls.append(1) or recalibrate_batch_norm(*a)
    )
    train(small(method="ce", recalibrate=False))
    assert calls == []
    train(small(method="ce", recalibrate=True))
    assert len(calls) == 3


def test_a_snapshot_of_the_training_images_knows_their_rows_and_one_of_others_none():
    state = fresh(holdout=0.2)
    assert torch.equal(observe(state).index, state.index) and observe(state, *state.holdout).index is None
