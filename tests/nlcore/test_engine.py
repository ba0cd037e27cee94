import pytest
import torch

from nlcore import Dataset, DivergenceError, TrainConfig, engine, load_dataset, train
from nlcore.division import Division, Snapshot
from nlcore.engine import Samples, draw_balanced, evaluate, observe, run, set_learning_rate, start
from nlcore.methods import METHODS
from nlcore.networks import recalibrate_batch_norm
from nlcore.training import prepare


def small(**changes) -> TrainConfig:
    """300 digits, one epoch of warm-up and two of the method."""
    return TrainConfig(**{"subset": 300, "epochs": 3, "warmup_epochs": 1, "device": "cpu"} | changes)


def fresh(**changes):
    config = small(**changes).resolved()
    return start(config, *prepare(config))


def test_without_average_weights_the_teacher_is_the_student():
    state = fresh(ema_decay=0.0)
    assert state.teacher is state.student
    averaged = fresh(ema_decay=0.9)
    assert averaged.teacher is not averaged.student


def test_the_teacher_follows_the_student_slowly():
    config = small(ema_decay=0.99, method="ce", epochs=1).resolved()
    dataset, noisy = prepare(config)
    begin = start(config, dataset, noisy).student.classifier.weight
    state = next(run(config, dataset, noisy)).state
    moved = (state.student.classifier.weight - begin).norm()
    followed = (state.teacher.classifier.weight - begin).norm()
    assert 0 < followed < moved


@pytest.mark.parametrize(
    ("schedule", "expected"), [("cosine", [0.1, 0.0853553, 0.05, 0.0146447]), ("step", [0.1, 0.1, 0.01, 0.01])]
)
def test_the_learning_rate_follows_its_schedule(schedule, expected):
    state = fresh(schedule=schedule, epochs=4, learning_rate=0.1)
    for epoch, rate in enumerate(expected):
        state.epoch = epoch
        assert set_learning_rate(state) == pytest.approx(rate, abs=1e-6)
        assert state.optimiser.param_groups[0]["lr"] == pytest.approx(rate, abs=1e-6)


def test_observing_sees_all_images_once_in_order_without_augmentation(monkeypatch):
    state = fresh()
    whole = observe(state)
    monkeypatch.setattr(engine, "OBSERVE_BATCH", 64)
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


def test_recalibration_happens_only_where_it_is_asked_for(monkeypatch):
    calls = []
    monkeypatch.setattr(engine, "recalibrate_batch_norm", lambda *a: calls.append(1) or recalibrate_batch_norm(*a))
    train(small(method="ce", recalibrate=False))
    assert calls == []
    train(small(method="ce", recalibrate=True))
    assert len(calls) == 3


def test_no_step_of_full_batches_has_fewer_than_a_whole_batch(monkeypatch):
    seen = []

    def record(student, teacher, weak, learn, labels, *rest):
        seen.append((len(labels), len(weak[0]) - len(labels)))
        return original(student, teacher, weak, learn, labels, *rest)

    original = engine.mixmatch_step
    monkeypatch.setattr(engine, "mixmatch_step", record)
    train(small(batch_size=32))
    assert {labelled for labelled, _ in seen} == {32} and len(seen) == 2 * round(300 / 32)
    seen.clear()
    train(small(batch_size=32, full_batches=False))
    assert any(labelled < 32 for labelled, _ in seen)  # what the paper preset does


def test_few_unlabelled_samples_get_a_small_part_of_the_batch_and_of_the_loss(monkeypatch):
    seen = []

    def record(student, teacher, weak, learn, labels, weight, lam_u, *rest):
        seen.append((len(labels), len(weak[0]) - len(labels), round(lam_u, 6)))
        return original(student, teacher, weak, learn, labels, weight, lam_u, *rest)

    original = engine.mixmatch_step
    monkeypatch.setattr(engine, "mixmatch_step", record)
    state = fresh()
    state.epoch = 100  # the ramp of lam_u is over
    ones, labelled = torch.ones(300), torch.arange(300) >= 60
    division = Division(("in", "out"), (~labelled).long(), labelled, state.given_labels, ones, ones)
    engine.ssl_epoch(state, division)
    assert set(seen) == {(32, 8, 0.25)}  # 60 unlabelled to 240 labelled


def test_a_loss_that_explodes_ends_the_run_and_says_in_which_epoch():
    with pytest.raises(DivergenceError, match="epoch 1") as error:
        train(small(method="ce", learning_rate=1e30))
    assert "\n" not in str(error.value)


def test_a_loss_that_becomes_nan_later_names_the_later_epoch(monkeypatch):
    original = engine.mixmatch_step

    def nan_at_last(*arguments):
        loss = original(*arguments)
        return loss * float("nan") if state["epoch"] == 2 else loss

    state = {"epoch": 0}
    monkeypatch.setattr(engine, "mixmatch_step", nan_at_last)
    with pytest.raises(DivergenceError, match="NaN in epoch 3"):
        train(small(), on_epoch=lambda epoch: state.update(epoch=epoch.row["epoch"]))


def test_losses_that_are_all_equal_do_not_end_the_run(monkeypatch, caplog):
    def indifferent(state, *rest):
        s = observe(state, *rest)
        return Snapshot(s.logits, s.features, torch.full_like(s.losses, 0.5))

    monkeypatch.setattr(engine, "observe", indifferent)
    result = train(small(method="dividemix"))
    assert result.history[-1]["sets"]["clean"]["size"] == 300 and "coincide" in caplog.text


def test_an_empty_labelled_set_does_not_end_the_run_and_is_logged(caplog):
    settings = METHODS["dividemix"].DivideMixConfig(tau=1.0, keep_share=0.0)
    result = train(small(method="dividemix", settings=settings))
    assert result.history[-1]["labelled"]["size"] == 0 and len(result.history) == 3
    assert "epoch 2: no sample is labelled" in caplog.text


def test_an_empty_unlabelled_set_does_not_end_the_run_and_is_logged(caplog):
    settings = METHODS["dividemix"].DivideMixConfig(tau=-1.0)
    with caplog.at_level("INFO", "nlcore"):
        result = train(small(method="dividemix", settings=settings))
    assert result.history[-1]["labelled"]["size"] == 300 and "every sample is labelled" in caplog.text


# -- balanced epochs


def long_tail() -> Dataset:
    """Digits of which the last classes are rare."""
    digits = load_dataset("digits")
    place = torch.arange(len(digits.train_labels))
    kept = (digits.train_labels < 5) | (place % 5 == 0)
    return digits.rows(kept.nonzero().flatten())


def test_a_balanced_epoch_trains_on_as_many_images_of_every_given_label():
    dataset = long_tail()
    config = small(subset=None, balanced_images=100, method="ce", noise="given").resolved()
    seen = []
    for epoch in run(config, *prepare(config, dataset)):
        state = epoch.state
        assert torch.bincount(state.given_labels, minlength=10).tolist() == [10] * 10
        assert torch.equal(dataset.train_labels[position_of(dataset, state.index)], state.given_labels)
        assert torch.equal(dataset.train_images[position_of(dataset, state.index)], state.images)
        seen.append(set(state.index.tolist()))
    assert len(seen) == 3 and seen[0] != seen[1]


def position_of(dataset: Dataset, index: torch.Tensor) -> torch.Tensor:
    """Where the images with these rows of the whole training set are in a dataset."""
    return torch.searchsorted(dataset.train_index, index)


@pytest.mark.parametrize("method", ["tssd", "anchor", "dividemix"])
def test_every_method_runs_on_balanced_epochs(method):
    result = train(small(subset=None, balanced_images=200, method=method))
    assert len(result.samples["index"]) == 200 and max(result.samples["index"]) > 300


def test_drawing_a_balanced_part_copies_nothing_but_that_part():
    config = small(subset=None, balanced_images=50, method="ce").resolved()
    dataset, noisy = prepare(config)
    state = start(config, dataset, noisy)
    assert state.pool.images.data_ptr() == dataset.train_images.data_ptr()
    draw_balanced(state)
    assert len(state.images) == 50


def test_taking_every_sample_copies_none():
    samples = Samples(torch.zeros(3, 1, 2, 2), torch.arange(3), None, torch.arange(3))
    assert samples.take(torch.arange(3)) is samples
    assert samples.take(torch.tensor([2])).index.tolist() == [2]
