import math
from dataclasses import replace

import pytest
import torch

from nlcore import Dataset, InputError, TrainConfig, load_dataset, train
from nlcore.basics.errors import Paused
from nlcore.methods import METHODS, set_names
from nlcore.selection.division import Snapshot
from nlcore.training import engine, steps
from nlcore.training.engine import draw_balanced, epochs, learning_rate_factor, run, set_learning_rate
from nlcore.training.observe import observe
from nlcore.training.run import prepare
from nlcore.training.state import Samples, start


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


@pytest.mark.parametrize(
    ("schedule", "expected"), [("cosine", [0.1, 0.0853553, 0.05, 0.0146447]), ("step", [0.1, 0.1, 0.01, 0.01])]
)
def test_the_learning_rate_follows_its_schedule(schedule, expected):
    state = fresh(schedule=schedule, epochs=4, learning_rate=0.1)
    for epoch, rate in enumerate(expected):
        state.epoch = epoch
        assert set_learning_rate(state) == pytest.approx(rate, abs=1e-6)
        assert state.learners[0].optimiser.param_groups[0]["lr"] == pytest.approx(rate, abs=1e-6)


def test_losses_that_are_all_equal_do_not_end_the_run(monkeypatch, caplog):
    def indifferent(state, *rest, **named):
        s = observe(state, *rest, **named)
        return Snapshot(s.logits, s.features, torch.full_like(s.losses, 0.5))

    monkeypatch.setattr(engine, "observe", indifferent)
    result = train(small(method="dividemix"))
    assert result.history[-1]["sets"]["clean"]["size"] == 300 and "coincide" in caplog.text


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


# -- the learning rate


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", {0.0: 1.0, 0.25: (1 + math.sqrt(0.5)) / 2, 0.5: 0.5, 2 / 3: 0.25, 1.0: 0.0}),
        ("step", {0.0: 1.0, 0.49: 1.0, 0.5: 0.1, 0.99: 0.1}),
        ("one_cycle", {0.0: 0.04, 0.125: 0.52, 0.25: 1.0, 0.625: 0.5, 0.75: 0.25, 1.0: 0.0}),
    ],
)
def test_the_factor_of_the_learning_rate_at_chosen_points(schedule, expected):
    factors = {progress: learning_rate_factor(schedule, progress) for progress in expected}
    assert factors == pytest.approx(expected, abs=1e-12)


def test_both_networks_have_the_same_learning_rate():
    state = fresh(networks=2, schedule="one_cycle", epochs=8, learning_rate=0.1)
    state.epoch = 1
    rate = set_learning_rate(state)
    assert rate == pytest.approx(0.052)
    assert [learner.optimiser.param_groups[0]["lr"] for learner in state.learners] == [rate, rate]


# -- two networks


def test_two_networks_start_from_different_weights_and_the_first_is_that_of_a_single_run():
    one, two = fresh(), fresh(networks=2)
    first, second = (learner.student.classifier.weight for learner in two.learners)
    assert torch.equal(first, one.student.classifier.weight) and not torch.equal(first, second)
    assert two.learners[1].teacher is not two.learners[0].teacher


@pytest.mark.parametrize("method", ["dividemix", "tssd", "anchor"])
def test_the_history_has_the_division_of_the_second_network_too(method):
    history = train(small(method=method, networks=2)).history
    assert "second" not in history[0]
    for row in history[1:]:
        assert tuple(row["sets"]) == tuple(row["second"]["sets"]) == set_names(method)
        assert sum(values["size"] for values in row["second"]["sets"].values()) == 300
        assert row["sets"] != row["second"]["sets"]
    assert all("second" not in row for row in train(small(method=method)).history)


def test_cross_entropy_trains_two_networks_as_well():
    result = train(small(method="ce", networks=2))
    assert result.network["count"] == 2 and len(result.history) == 3


# -- hold-out


def test_a_holdout_is_never_trained_on(monkeypatch):
    config = small(holdout=0.2, method="dividemix").resolved()
    dataset, noisy = prepare(config)
    state = start(config, dataset, noisy)
    kept = torch.isin(dataset.train_index, state.index)
    assert int(kept.sum()) == 240 == len(state.images) and len(state.holdout[0]) == 60
    assert torch.equal(state.images, dataset.train_images[kept])
    assert torch.equal(state.given_labels, noisy.given_labels[kept])
    assert torch.equal(state.holdout[0], dataset.train_images[~kept])
    assert torch.equal(state.holdout[1], noisy.given_labels[~kept])
    # No step of either phase sees another image than those.
    shown, weak_views = [], steps.weak_views
    monkeypatch.setattr(steps, "weak_views", lambda images, *rest: shown.append(images) or weak_views(images, *rest))
    for _ in epochs(state):
        pass
    allowed = {row.tobytes() for row in dataset.train_images[kept].numpy()}
    seen = {row.tobytes() for row in torch.cat(shown).numpy()}
    assert seen == allowed and not seen & {row.tobytes() for row in state.holdout[0].numpy()} - allowed


def test_holdout_accuracy_is_agreement_with_the_given_labels():
    config = small(holdout=0.2, networks=2, method="ce").resolved()
    dataset, noisy = prepare(config)
    last = [epoch for epoch in run(config, dataset, noisy)][-1]
    state, (images, labels) = last.state, last.state.holdout
    logits = sum(observe(state, images, labels, learner).logits for learner in state.learners)
    right = sum(int(row.argmax()) == label for row, label in zip(logits, labels.tolist(), strict=True))
    assert last.row["holdout_accuracy"] == pytest.approx(100 * right / 60)
    clean = noisy.true_labels[~torch.isin(dataset.train_index, state.index)]
    assert not torch.equal(labels, clean)  # they are as noisy as the others


def test_a_holdout_depends_on_the_seed_and_without_one_there_is_no_such_number():
    first, again, other = (fresh(holdout=0.2, seed=seed).index for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert fresh().holdout is None
    assert "holdout_accuracy" not in train(small(method="ce", epochs=1)).history[0]


def test_a_holdout_that_leaves_nothing_is_refused():
    with pytest.raises(InputError, match="hold-out of 300 leaves nothing of 300"):
        train(small(holdout=0.999))


# -- loss history


def test_a_division_sees_the_mean_of_the_scaled_losses_of_the_last_epochs(monkeypatch):
    seen = []
    method = METHODS["dividemix"]
    divide = method.divide
    monkeypatch.setattr(method, "divide", lambda snapshot, *rest: seen.append(snapshot) or divide(snapshot, *rest))
    state = fresh(method="dividemix", loss_history=3, networks=2)
    made = [torch.rand(300, generator=torch.Generator().manual_seed(seed)) * (seed + 1) + seed for seed in range(5)]
    base = observe(state)
    for losses in made:
        engine.divide(state, replace(base, losses=losses), state.learners[1])
    scaled = [(losses - losses.min()) / (losses.max() - losses.min()) for losses in made]
    for number, snapshot in enumerate(seen):
        last = scaled[max(0, number - 2) : number + 1]
        torch.testing.assert_close(snapshot.losses, sum(last) / len(last))
        assert snapshot.logits is base.logits
    assert state.learners[0].past_losses == [] and len(state.learners[1].past_losses) == 3


def test_a_division_hears_what_share_of_the_epochs_after_warm_up_is_over(monkeypatch, tmp_path):
    heard = []
    divide = METHODS["dividemix"].divide
    monkeypatch.setattr(
        METHODS["dividemix"],
        "divide",
        lambda snapshot, *rest: heard.append(snapshot.progress) or divide(snapshot, *rest),
    )
    config = TrainConfig(method="dividemix", subset=100, epochs=5, warmup_epochs=1, networks=2)
    train(config)
    assert heard == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]
    heard.clear()
    for _ in range(4):  # stopped after every epoch
        with pytest.raises(Paused):
            train(config, folder=tmp_path, time_budget=0)
    train(config, folder=tmp_path)
    assert heard == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


def test_without_a_history_a_division_sees_the_losses_as_they_are(monkeypatch):
    seen = []
    method = METHODS["dividemix"]
    divide = method.divide
    monkeypatch.setattr(method, "divide", lambda snapshot, *rest: seen.append(snapshot) or divide(snapshot, *rest))
    state = fresh(method="dividemix")
    snapshot = observe(state)
    engine.divide(state, snapshot)
    assert [division.losses is snapshot.losses for division in seen] == [True]
    assert state.learners[0].past_losses == []


def test_a_run_keeps_the_losses_of_as_many_epochs_as_it_is_told():
    config = small(method="dividemix", loss_history=2, epochs=5).resolved()
    counts = [len(epoch.state.learners[0].past_losses) for epoch in run(config, *prepare(config))]
    assert counts == [0, 1, 2, 2, 2]


# -- chance


@pytest.mark.parametrize("seed", range(3))
def test_a_holdout_and_a_golden_set_are_as_noisy_as_the_rest(make_dataset, seed):
    """Noise, hold-out and golden set come from one seed; drawn from one stream they would choose the same samples."""
    settings = replace(METHODS["tssd"].PRESETS["tuned"], meta="golden", golden=500)
    config = TrainConfig(dataset="made", seed=seed, rate=0.4, holdout=0.25, settings=settings, network="digits_cnn")
    dataset, noisy = prepare(config.resolved(), make_dataset(2000, 10, name="made"))
    state = start(config.resolved(), dataset, noisy)
    wrong = noisy.given_labels != noisy.true_labels
    trained_on = torch.isin(dataset.train_index, state.index)
    assert len(state.images) == 1000
    assert abs(float(wrong[trained_on].float().mean()) - float(wrong.float().mean())) < 0.05
