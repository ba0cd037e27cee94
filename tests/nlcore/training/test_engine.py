import copy
import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nlcore import Dataset, DivergenceError, InputError, TrainConfig, load_dataset, train
from nlcore.methods import METHODS, set_names
from nlcore.selection.division import Division, Snapshot
from nlcore.training import engine, steps
from nlcore.training import epoch as one_epoch
from nlcore.training.engine import draw_balanced, epochs, learning_rate_factor, run, set_learning_rate
from nlcore.training.mixmatch import SSLConfig, batches
from nlcore.training.networks import recalibrate_batch_norm
from nlcore.training.observe import evaluate, observe
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
        assert state.learners[0].optimiser.param_groups[0]["lr"] == pytest.approx(rate, abs=1e-6)


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


def test_recalibration_happens_only_where_it_is_asked_for(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "nlcore.training.observe.recalibrate_batch_norm", lambda *a: calls.append(1) or recalibrate_batch_norm(*a)
    )
    train(small(method="ce", recalibrate=False))
    assert calls == []
    train(small(method="ce", recalibrate=True))
    assert len(calls) == 3


def test_no_step_of_full_batches_has_fewer_than_a_whole_batch(monkeypatch):
    seen = []

    def record(student, teacher, weak, learn, labels, *rest):
        seen.append((len(labels), len(weak[0]) - len(labels)))
        return original(student, teacher, weak, learn, labels, *rest)

    original = one_epoch.mixmatch_step
    monkeypatch.setattr(one_epoch, "mixmatch_step", record)
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

    original = one_epoch.mixmatch_step
    monkeypatch.setattr(one_epoch, "mixmatch_step", record)
    state = fresh()
    state.epoch = 100  # the ramp of lam_u is over
    ones, labelled = torch.ones(300), torch.arange(300) >= 60
    division = Division(("in", "out"), (~labelled).long(), labelled, state.given_labels, ones, ones)
    one_epoch.ssl_epoch(state, division)
    assert set(seen) == {(32, 8, 0.25)}  # 60 unlabelled to 240 labelled


def test_a_loss_that_explodes_ends_the_run_and_says_in_which_epoch():
    with pytest.raises(DivergenceError, match="epoch 1") as error:
        train(small(method="ce", learning_rate=1e30))
    assert "\n" not in str(error.value)


def test_a_loss_that_becomes_nan_later_names_the_later_epoch(monkeypatch):
    original = one_epoch.mixmatch_step

    def nan_at_last(*arguments):
        loss = original(*arguments)
        return loss * float("nan") if state["epoch"] == 2 else loss

    state = {"epoch": 0}
    monkeypatch.setattr(one_epoch, "mixmatch_step", nan_at_last)
    with pytest.raises(DivergenceError, match="NaN in epoch 3"):
        train(small(), on_epoch=lambda epoch: state.update(epoch=epoch.row["epoch"]))


def test_losses_that_are_all_equal_do_not_end_the_run(monkeypatch, caplog):
    def indifferent(state, *rest, **named):
        s = observe(state, *rest, **named)
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
def test_each_of_two_networks_trains_on_the_division_of_the_other(method, monkeypatch):
    makers, trained = {}, []
    divide, ssl_epoch = engine.divide, one_epoch.ssl_epoch

    def record_maker(state, snapshot, learner):
        assert torch.equal(observe(state, learner=learner).logits, snapshot.logits)  # its own view of the images
        division, report = divide(state, snapshot, learner)
        makers[id(division)] = state.learners.index(learner), division
        return division, report

    def record_use(state, division, number):
        trained.append((number, makers[id(division)][0]))
        return ssl_epoch(state, division, number)

    monkeypatch.setattr(engine, "divide", record_maker)
    monkeypatch.setattr(one_epoch, "ssl_epoch", record_use)
    train(small(method=method, networks=2))
    assert trained == [(0, 1), (1, 0)] * 2


def test_a_single_network_trains_on_its_own_division(monkeypatch):
    made, used = [], []
    divide, ssl_epoch = engine.divide, one_epoch.ssl_epoch
    monkeypatch.setattr(engine, "divide", lambda *a: made.append(divide(*a)) or made[-1])
    monkeypatch.setattr(one_epoch, "ssl_epoch", lambda s, d, k: used.append((d, k)) or ssl_epoch(s, d, k))
    train(small(method="dividemix"))
    # `train` divides no more: the last division is the one that was trained on.
    assert [number for _, number in used] == [0, 0]
    assert [a is b for (a, _), b in zip(used, (division for division, _ in made), strict=True)] == [True, True]


def test_guesses_come_from_both_networks_and_the_own_one_is_first(monkeypatch):
    seen = []
    original = one_epoch.mixmatch_step

    def record(student, teachers, *rest):
        seen.append((student, tuple(teachers)))
        return original(student, teachers, *rest)

    monkeypatch.setattr(one_epoch, "mixmatch_step", record)
    state = [epoch.state for epoch in run(small(networks=2), *prepare(small(networks=2).resolved()))][-1]
    first, second = state.learners
    assert set(seen) == {
        (first.student, (first.teacher, second.teacher)),
        (second.student, (second.teacher, first.teacher)),
    }


def test_two_networks_are_tested_on_their_summed_logits():
    config = small(networks=2, method="ce", epochs=2).resolved()
    state = [epoch for epoch in run(config, *prepare(config))][-1].state
    logits = [observe(state, state.test_images, state.test_labels, learner).logits for learner in state.learners]
    shares = [float(((a).argmax(1) == state.test_labels).double().mean()) for a in (*logits, logits[0] + logits[1])]
    assert evaluate(state) == pytest.approx(100 * shares[2])
    assert len(set(shares)) == 3  # neither network's alone


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


def test_without_a_history_a_division_sees_the_losses_as_they_are(monkeypatch):
    seen = []
    method = METHODS["dividemix"]
    divide = method.divide
    monkeypatch.setattr(method, "divide", lambda snapshot, *rest: seen.append(snapshot) or divide(snapshot, *rest))
    state = fresh(method="dividemix")
    snapshot = observe(state)
    engine.divide(state, snapshot)
    assert seen == [snapshot] and state.learners[0].past_losses == []


def test_a_run_keeps_the_losses_of_as_many_epochs_as_it_is_told():
    config = small(method="dividemix", loss_history=2, epochs=5).resolved()
    counts = [len(epoch.state.learners[0].past_losses) for epoch in run(config, *prepare(config))]
    assert counts == [0, 1, 2, 2, 2]


# -- confidence penalty


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_loss_of_one_step_with_the_confidence_penalty_by_hand(weight):
    """CE + weight * mean over the images of sum p log p; one step on everything, without random views."""
    state = fresh(confidence_penalty=weight, batch_size=300, pad=0)
    student = copy.deepcopy(state.student).train()
    logits, _ = student(steps.to_input(state, state.images))
    probs = logits.detach().double().softmax(1)
    given = probs[torch.arange(300), state.given_labels]
    expected = float(-given.log().mean() + weight * (probs * probs.log()).sum(1).mean())
    assert one_epoch.warmup_epoch(state) == pytest.approx(expected, abs=1e-5)


def test_the_confidence_penalty_keeps_a_network_from_being_sure():
    sure = {}
    for weight in (0.0, 2.0):
        config = small(method="ce", epochs=8, confidence_penalty=weight).resolved()
        state = [epoch.state for epoch in run(config, *prepare(config))][-1]
        sure[weight] = float(observe(state).probs.max(1).values.mean())
    assert sure[2.0] < sure[0.0] - 0.1


# -- a device that works on while the host prepares the next step


class HostReads(TorchDispatchMode):
    """Counts the operations that a GPU could only answer by making the host wait."""

    WAITING = ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "equal", "masked_select", "lift_fresh")

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    @contextmanager
    def paused(self):
        before = self.counts.copy()
        yield
        self.counts = before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        booleans = name.startswith("index") and any(
            t is not None and t.dtype == torch.bool for t in (args[1] if isinstance(args[1], list | tuple) else ())
        )
        if name in self.WAITING or booleans:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def half_labelled(state) -> Division:
    ones, labelled = torch.ones(len(state.images)), torch.arange(len(state.images)) % 2 == 0
    return Division(("in", "out"), (~labelled).long(), labelled, state.given_labels, ones, ones)


@pytest.fixture
def host_reads(monkeypatch):
    """`with host_reads() as reads: ...; reads.counts`. On the CPU alone, torch's own `one_hot` looks at its labels."""
    one_hot, modes = F.one_hot, []

    def uncounted(*arguments):
        with modes[-1].paused():
            return one_hot(*arguments)

    monkeypatch.setattr(F, "one_hot", uncounted)
    return lambda: modes.append(HostReads()) or modes[-1]


def test_reads_of_the_host_are_found(host_reads):
    with host_reads() as reads:
        values = torch.arange(3)
        assert values[0].item() == 0 and float(values.sum()) == 3
        assert len(values[values > 1]) == 1 and len(values.nonzero()) == 2
    assert reads.counts == {"_local_scalar_dense": 2, "index": 1, "nonzero": 1}


@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("networks", [1, 2])
def test_no_step_of_semi_supervised_training_waits_for_the_device(strong, networks, host_reads):
    reads = {}
    for count in (1, 3):
        ssl = replace(SSLConfig(), strong=strong, views=2)
        state = fresh(ssl=ssl, batch_size=round(300 / count), flip=strong, networks=networks)
        state.epoch = 3
        with host_reads() as reading:
            one_epoch.ssl_epoch(state, half_labelled(state))
        assert state.learners[0].step == count
        reads[count] = reading.counts
    assert reads[1] == reads[3] and sum(reads[1].values()) > 0  # once an epoch: which samples are labelled, the loss


def test_no_step_of_warm_up_waits_for_the_device(host_reads):
    reads = {}
    for count in (1, 3):
        state = fresh(batch_size=round(300 / count), confidence_penalty=1.0)
        with host_reads() as reading:
            one_epoch.warmup_epoch(state)
        assert state.learners[0].step == count
        reads[count] = reading.counts
    assert reads[1] == reads[3] and sum(reads[1].values()) > 0


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


def test_the_first_batches_are_as_noisy_as_the_last(make_dataset, monkeypatch):
    config = TrainConfig(
        dataset="made", method="ce", rate=0.5, epochs=1, network="digits_cnn", batch_size=100
    ).resolved()
    dataset, noisy = prepare(config, make_dataset(2000, 10, name="made"))
    seen = []
    monkeypatch.setattr("nlcore.training.steps.batches", lambda *a: (seen.append(b) or b for b in batches(*a)))
    next(run(config, dataset, noisy))
    wrong = noisy.given_labels != noisy.true_labels
    assert len(seen) == 20
    halves = [float(wrong[torch.cat(half)].float().mean()) for half in (seen[:10], seen[10:])]
    assert abs(halves[0] - halves[1]) < 0.1
