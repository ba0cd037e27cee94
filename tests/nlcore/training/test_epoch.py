import copy
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nlcore import DivergenceError, TrainConfig, load_dataset, train
from nlcore.methods import METHODS
from nlcore.selection.division import Division
from nlcore.training import engine, steps
from nlcore.training import epoch as one_epoch
from nlcore.training.engine import draw_balanced, run
from nlcore.training.epoch import warmup_epoch
from nlcore.training.mixmatch import SSLConfig, batches
from nlcore.training.observe import observe
from nlcore.training.run import prepare
from nlcore.training.state import start


def small(**changes) -> TrainConfig:
    """300 digits, one epoch of warm-up and two of the method."""
    return TrainConfig(**{"subset": 300, "epochs": 3, "warmup_epochs": 1, "device": "cpu"} | changes)


def started(config: TrainConfig):
    """What `start` takes, from a configuration that is still open."""
    config = config.resolved()
    return config, *prepare(config)


def fresh(**changes):
    return start(*started(small(**changes)))


def test_the_teacher_follows_the_student_slowly():
    config = small(ema_decay=0.99, method="ce", epochs=1).resolved()
    dataset, noisy = prepare(config)
    begin = start(config, dataset, noisy).student.classifier.weight
    state = next(run(config, dataset, noisy)).state
    moved = (state.student.classifier.weight - begin).norm()
    followed = (state.teacher.classifier.weight - begin).norm()
    assert 0 < followed < moved


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


def test_an_empty_labelled_set_does_not_end_the_run_and_is_logged(caplog):
    settings = METHODS["dividemix"].DivideMixConfig(tau=1.0, keep_share=0.0)
    result = train(small(method="dividemix", settings=settings))
    assert result.history[-1]["labelled"]["size"] == 0 and len(result.history) == 3
    assert "epoch 2: no sample is labelled" in caplog.text


def test_an_empty_unlabelled_set_does_not_end_the_run_and_is_logged(caplog):
    settings = METHODS["dividemix"].DivideMixConfig(keep_share=1.0)
    with caplog.at_level("INFO", "nlcore"):
        result = train(small(method="dividemix", settings=settings))
    assert result.history[-1]["labelled"]["size"] == 300 and "every sample is labelled" in caplog.text


# -- two networks


@pytest.mark.parametrize("method", ["dividemix", "tssd", "anchor", "tscsi"])
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


@pytest.mark.parametrize("networks", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_no_step_walks_over_the_modules_of_a_network(networks, decay, monkeypatch):
    """Hundreds of small modules: on a GPU such walks took a fifth of a step of the host."""
    calls, walks = Counter(), {}
    for name in ("train", "parameters", "modules"):
        walk = getattr(torch.nn.Module, name)
        monkeypatch.setattr(torch.nn.Module, name, lambda *a, n=name, w=walk, **k: calls.update([n]) or w(*a, **k))
    for count in (1, 3):
        state = fresh(batch_size=round(300 / count), networks=networks, ema_decay=decay, recalibrate=False)
        state.epoch = 3
        calls.clear()
        one_epoch.ssl_epoch(state, half_labelled(state))
        one_epoch.warmup_epoch(state)
        assert state.learners[0].step == 2 * count
        walks[count] = calls.copy()
    assert walks[1] == walks[3] and walks[1]["train"] > 0


# -- what a method's own epoch is written with


def test_mixup_of_steps_draws_one_share_and_one_partner_for_each(rng):
    state = fresh()
    inputs, targets = torch.rand(40, 1, 8, 8, generator=rng), torch.eye(40)
    mixed, shares = steps.Steps(state).mixed(inputs, targets, 2.0)
    lam = float(shares[0].max())
    assert 0.5 <= lam < 1 and (shares > 0).sum(1).max() <= 2
    for i in range(40):
        partner = next((j for j in range(40) if j != i and shares[i, j] > 0), i)
        torch.testing.assert_close(mixed[i], lam * inputs[i] + (1 - lam) * inputs[partner])
    other, _ = steps.Steps(state).mixed(inputs, targets, 2.0)
    assert not torch.equal(mixed, other)


def test_mixup_of_steps_with_alpha_zero_draws_nothing():
    state = fresh()
    before = state.generator.get_state()
    inputs, targets = torch.rand(4, 2), torch.rand(4, 3)
    assert steps.Steps(state).mixed(inputs, targets, 0.0) == (inputs, targets)
    assert torch.equal(before, state.generator.get_state())


# -- the shares of several annotators' votes


def voted(tmp_path, **changes) -> TrainConfig:
    """Six annotators of digits, of whom two err on every third image: the majority is right, the shares are not."""
    labels = load_dataset("digits").train_labels.numpy()
    votes = np.stack([labels] * 6, axis=1)
    votes[::3, :2] = (votes[::3, :2] + 1) % 10
    np.save(tmp_path / "votes.npy", votes)
    return small(noise=f"annotators:{tmp_path / 'votes.npy'}", **changes)


def test_plain_training_learns_the_shares_of_the_votes_where_it_is_asked_to(tmp_path, monkeypatch):
    seen = []

    def record(logits, labels, **options):
        if not options:  # the loss of a batch, not that of every sample
            seen.append((logits.detach(), labels))
        return original(logits, labels, **options)

    original = F.cross_entropy
    monkeypatch.setattr(one_epoch.F, "cross_entropy", record)
    train(voted(tmp_path, method="ce", epochs=1))
    assert {labels.ndim for _, labels in seen} == {1}
    seen.clear()
    state = start(*started(voted(tmp_path, method="ce", epochs=1, noise_options={"soft": True})))
    loss = warmup_epoch(state)
    assert {labels.shape[1:] for _, labels in seen} == {(10,)}
    values = torch.cat([labels for _, labels in seen]).unique()
    torch.testing.assert_close(values, torch.tensor([0, 1 / 3, 2 / 3, 1]))
    by_hand = [-(labels * logits.log_softmax(1)).sum(1).mean() for logits, labels in seen]
    assert loss == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-5)


def test_soft_labels_stay_with_their_samples(tmp_path):
    config = voted(tmp_path, noise_options={"soft": True}, holdout=0.2)
    state = start(*started(config))
    shares = state.soft_labels[range(240), state.true_labels]
    assert torch.equal(shares < 1, state.index % 3 == 0) and torch.equal(
        state.soft_labels.argmax(1), state.given_labels
    )
    pooled = start(*started(replace(config, balanced_images=100)))
    draw_balanced(pooled)
    assert torch.equal(pooled.soft_labels[range(len(pooled.index)), pooled.true_labels] < 1, pooled.index % 3 == 0)
    assert start(*started(replace(config, noise_options={}))).soft_labels is None


def test_after_a_warm_up_on_soft_labels_a_method_divides_as_ever(tmp_path):
    result = train(voted(tmp_path, method="dividemix", noise_options={"soft": True}))
    assert "labelled" in result.history[-1] and result.noise["identity"].startswith("annotators votes.npy")
