"""GCE: the loss, the truncation and when it is due, each against plain loops."""

import math
from types import SimpleNamespace

import pytest
import torch

from nlcore import TrainConfig, train
from nlcore.basics.errors import InputError
from nlcore.methods import gce
from nlcore.methods.gce import GCEConfig, batch_loss, l_q, prepare
from nlcore.selection.division import Snapshot
from nlcore.training.engine import run
from nlcore.training.run import prepare as data_of


def batch(logits, labels, index=None):
    index = torch.arange(len(labels)) if index is None else index
    return SimpleNamespace(logits=logits, labels=labels, index=index)


def probability(row: list[float], label: int) -> float:
    return math.exp(row[label]) / sum(map(math.exp, row))


def moment(epoch: int, labels, index=None, pool=None, epochs: int = 20, full_size: int = 12):
    """As much of a state as `prepare` reads."""
    index = torch.arange(full_size) if index is None else index
    return SimpleNamespace(
        epoch=epoch,
        config=SimpleNamespace(epochs=epochs),
        pool=pool,
        index=index,
        full_size=full_size,
        given_labels=labels,
        num_classes=3,
    )


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_the_loss_equals_that_of_a_loop(q, rng):
    logits, labels = 3 * torch.randn(40, 5, generator=rng), torch.randint(0, 5, (40,), generator=rng)
    pairs = zip(logits.tolist(), labels.tolist(), strict=True)
    expected = [(1 - probability(row, label) ** q) / q for row, label in pairs]
    loss = batch_loss(batch(logits, labels), GCEConfig(q=q), {})
    assert float(loss) == pytest.approx(sum(expected) / 40, rel=1e-5)


def test_the_loss_lies_between_cross_entropy_and_absolute_error():
    log_prob = torch.tensor([0.9, 0.5, 0.01]).log()
    torch.testing.assert_close(l_q(log_prob, 1e-6), -log_prob, atol=1e-4, rtol=0)
    torch.testing.assert_close(l_q(log_prob, 1.0), 1 - log_prob.exp())


def test_the_gradient_is_that_of_cross_entropy_times_a_power_of_the_probability(rng):
    """p^q: the less a label is believed, the less it teaches."""
    logits, labels = torch.randn(6, 4, generator=rng), torch.randint(0, 4, (6,), generator=rng)
    for row, label in zip(logits, labels, strict=True):
        row = row.clone().requires_grad_()
        batch_loss(batch(row[None], label[None]), GCEConfig(q=0.7), {}).backward()
        p = row.detach().softmax(0)
        one_hot = torch.eye(4)[label]
        torch.testing.assert_close(row.grad, float(p[label]) ** 0.7 * (p - one_hot))


def test_a_label_of_probability_zero_has_a_finite_gradient():
    logits = torch.tensor([[300.0, 0.0], [0.0, 300.0]], requires_grad=True)
    loss = batch_loss(batch(logits, torch.tensor([1, 1])), GCEConfig(q=0.7), {})
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.5 / 0.7) and bool(logits.grad.isfinite().all())


def test_the_truncated_loss_equals_that_of_a_loop_and_teaches_nothing_where_v_is_0(rng):
    settings = GCEConfig(q=0.6, truncate_at=0.4)
    logits, labels = torch.randn(30, 4, generator=rng).requires_grad_(), torch.randint(0, 4, (30,), generator=rng)
    index = torch.randperm(50, generator=rng)[:30]
    kept = torch.rand(50, generator=rng) < 0.5
    total = 0.0
    for row, label, i in zip(logits.tolist(), labels.tolist(), index.tolist(), strict=True):
        p = probability(row, label) if kept[i] else 0.4
        total += (1 - p**0.6) / 0.6
    loss = batch_loss(batch(logits, labels, index), settings, {"kept": kept})
    assert float(loss.detach()) == pytest.approx(total / 30, rel=1e-5)
    loss.backward()
    assert torch.equal(logits.grad.abs().sum(1) > 0, kept[index])


def test_v_keeps_the_samples_whose_label_is_likelier_than_k(rng):
    logits, labels = 2 * torch.randn(12, 3, generator=rng), torch.randint(0, 3, (12,), generator=rng)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    index = torch.randperm(20, generator=rng)[:12]
    memory = {}
    state = moment(10, labels, index, full_size=20)
    settings = GCEConfig(truncate_at=0.3, start=0.5, keep_share=0.0)
    prepare(lambda: Snapshot(logits, logits, losses), state, settings, memory)
    rows = dict(zip(index.tolist(), range(12), strict=True))
    for i in range(20):
        believed = i not in rows or probability(logits[rows[i]].tolist(), int(labels[rows[i]])) > 0.3
        assert bool(memory["kept"][i]) == believed
    assert 0 < int(memory["kept"][index].sum()) < 12


def test_v_keeps_the_smallest_losses_of_a_class_that_is_not_believed():
    labels = torch.tensor([0] * 4 + [1] * 8)
    losses = torch.tensor([3.0, 1.0, 2.0, 4.0, *[0.1] * 8])  # of probabilities below and above 0.5
    memory = {}
    prepare(lambda: Snapshot(None, None, losses), moment(10, labels), GCEConfig(keep_share=0.5), memory)
    assert memory["kept"].tolist() == [False, True, True, False] + [True] * 8


@pytest.mark.parametrize(
    ("changes", "pool", "due"),
    [
        ({"start": 0.5, "refresh_every": 4}, None, [10, 14, 18]),
        ({"start": 1 / 3, "refresh_every": 10}, None, [7, 17]),
        ({"start": 0.9, "refresh_every": 1}, None, [18, 19]),
        ({"start": 0.5, "refresh_every": 4}, "other images in every epoch", list(range(10, 20))),
        ({"start": 1.0}, None, []),
        ({"start": 0.0, "truncate_at": 0.0}, None, []),
    ],
    ids=str,
)
def test_v_is_drawn_in_the_epochs_that_the_settings_name(changes, pool, due):
    looks = []
    for epoch in range(20):

        def look(epoch=epoch):
            looks.append(epoch)
            return Snapshot(None, None, torch.zeros(12))

        prepare(look, moment(epoch, torch.zeros(12, dtype=torch.int64), pool=pool), GCEConfig(**changes), {})
    assert looks == due


def test_the_paper_preset_on_cifar_has_the_papers_training():
    config = TrainConfig(dataset="cifar10", method="gce", preset="paper", budget="long").resolved()
    assert (config.network, config.epochs, config.batch_size) == ("resnet34", 120, 128)
    assert (config.learning_rate, config.weight_decay, config.schedule) == (0.01, 1e-4, "step")
    assert round(config.settings.start * config.epochs) == 40 and config.settings.refresh_every == 10
    config = TrainConfig(dataset="cifar100", method="gce", preset="paper", budget="long").resolved()
    assert (config.epochs, round(config.settings.start * config.epochs), config.warmup_epochs) == (150, 80, 0)


@pytest.mark.parametrize(("name", "value"), [("q", 0.0), ("q", 1.1), ("truncate_at", 1.0), ("refresh_every", 0)])
def test_a_setting_out_of_range_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must "):
        TrainConfig(method="gce", settings=GCEConfig(**{name: value})).resolved()


def test_fewer_wrong_labels_are_memorised_than_by_cross_entropy(learnt):
    ours, plain = learnt("gce"), learnt("ce")
    assert ours.memorised < 0.5 * plain.memorised and ours.recovered > plain.recovered + 0.08


def test_v_leaves_out_wrong_labels(learnt):
    state = learnt("gce").state
    kept = state.learners[0].memory["kept"][state.index]
    wrong = state.given_labels != state.true_labels
    assert kept[~wrong].double().mean() > 0.7 and kept[wrong].double().mean() < 0.3


def test_balanced_epochs_judge_the_samples_that_they_have(monkeypatch):
    seen = []

    def watched(one, settings, memory):
        seen.append((one.epoch, bool(memory["kept"][one.index].all()) if "kept" in memory else None))
        return batch_loss(one, settings, memory)

    monkeypatch.setattr(gce, "batch_loss", watched)
    config = TrainConfig(method="gce", subset=400, balanced_images=100, epochs=6, rate=0.5, device="cpu").resolved()
    list(run(config, *data_of(config)))
    start = round(config.settings.start * 6)
    assert {epoch for epoch, kept in seen if kept is not None} == set(range(start, 6))
    for epoch in range(start, 6):
        assert not all(kept for e, kept in seen if e == epoch)


def test_two_networks_judge_for_themselves():
    config = TrainConfig(method="gce", networks=2, subset=200, epochs=4, device="cpu").resolved()
    *_, last = run(config, *data_of(config))
    first, second = (learner.memory["kept"] for learner in last.state.learners)
    assert not torch.equal(first, second)


def test_a_hold_out_is_not_judged_and_the_fair_epoch_is_its_own():
    result = train(TrainConfig(method="gce", subset=200, epochs=3, holdout=0.2, device="cpu"))
    assert result.fair is not None and len(result.samples["index"]) == 160
