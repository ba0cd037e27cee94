"""Each rule of TSCSI against plain loops over samples, and a short training."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from nlcore import Dataset, TrainConfig, train
from nlcore.basics.errors import Paused
from nlcore.methods import tscsi
from nlcore.methods.tscsi import TSCSIConfig, apart_loss, centrality, consistency, disagreement
from nlcore.selection.division import Snapshot
from nlcore.training.checkpoint import NAME, read
from nlcore.training.engine import divide, run
from nlcore.training.mixmatch import Mixed
from nlcore.training.observe import observe
from nlcore.training.run import prepare
from nlcore.training.state import start
from nlcore.training.steps import Steps


def small(**changes) -> TrainConfig:
    """300 digits, one epoch of warm-up and two of the method."""
    return TrainConfig(
        **{"method": "tscsi", "subset": 300, "epochs": 3, "warmup_epochs": 1, "device": "cpu", "threads": 1} | changes
    )


def fresh(**changes):
    config = small(**changes).resolved()
    return start(config, *prepare(config))


def softmax(row) -> np.ndarray:
    powers = np.exp(np.asarray(row, dtype=float) - max(row))
    return powers / powers.sum()


def gap_by_hand(first, second) -> float:
    return sum(abs(p - q) for p, q in zip(softmax(first), softmax(second), strict=True))


def low_posterior(values, **limits) -> np.ndarray:
    """Scikit-learn's mixture of two on values scaled to [0, 1]: the probability of the component of small values."""
    values = np.asarray(values, dtype=float)
    scaled = ((values - values.min()) / (values.max() - values.min()))[:, None]
    mixture = GaussianMixture(2, reg_covar=5e-4, random_state=0, **limits).fit(scaled)
    return mixture.predict_proba(scaled)[:, mixture.means_.argmin()]


# -- stage 1


@pytest.fixture(scope="module")
def seen():
    """400 samples of 4 classes: directions near their true class, predictions and given labels that often differ."""
    g = torch.Generator().manual_seed(0)
    true = torch.arange(400) % 4
    given = torch.where(torch.rand(400, generator=g) < 0.4, torch.randint(4, (400,), generator=g), true)
    side = 3 * torch.eye(4, 6)[true] + 0.5 * torch.randn(400, 6, generator=g)
    side = side * (0.5 + torch.rand(400, 1, generator=g))
    heads = {"side": side} | {
        name: 2 * torch.eye(4)[true] + torch.randn(400, 4, generator=g) for name in ("first", "second")
    }
    snapshot = Snapshot(torch.randn(400, 4, generator=g), side, torch.rand(400, generator=g), heads=heads)
    return SimpleNamespace(snapshot=snapshot, given=given, true=true)


def cosines_by_hand(snapshot: Snapshot, given: torch.Tensor) -> list[float]:
    """The centre of a class comes from those predicted to be of it, the score of a sample from its given label."""
    side, first, second = (snapshot.heads[name].double().numpy() for name in ("side", "first", "second"))
    sums, cosines = {c: np.zeros(side.shape[1]) for c in range(first.shape[1])}, []
    for row, one, two in zip(side, first, second, strict=True):
        sums[int(np.argmax((one + two) / 2))] += row / np.linalg.norm(row)
    for row, label in zip(side, given.tolist(), strict=True):
        cosines.append(float(row / np.linalg.norm(row) @ sums[label] / np.linalg.norm(sums[label])))
    return cosines


def test_centrality_is_one_mixture_on_the_cosines_to_the_centres_of_the_predicted_classes(seen):
    expected = low_posterior([-c for c in cosines_by_hand(seen.snapshot, seen.given)], max_iter=100, tol=0.1)
    tau = float(np.quantile(expected, 0.7))
    prob, central = centrality(seen.snapshot, seen.given, TSCSIConfig(tau_p=tau))
    np.testing.assert_allclose(prob, expected, atol=0.01)
    assert prob.min() < 0.05 and prob.max() > 0.95
    assert central.tolist() == [p > tau for p in prob.tolist()] and tau > 0.5 and 50 < central.sum() < 200


def test_a_wrong_label_moves_no_centre(seen):
    """Other labels for half of the samples leave the score of the other half where it was, but for the mixture."""
    changed = torch.where(torch.arange(400) < 200, (seen.given + 1) % 4, seen.given)
    before, after = (cosines_by_hand(seen.snapshot, labels)[200:] for labels in (seen.given, changed))
    assert before == after
    right, _ = centrality(seen.snapshot, seen.true, TSCSIConfig())
    wrong, _ = centrality(
        seen.snapshot, torch.where(torch.arange(400) < 50, (seen.true + 1) % 4, seen.true), TSCSIConfig()
    )
    assert (wrong[:50] < 0.1).all() and (wrong[50:] > 0.5).float().mean() > 0.95 and len(right) == 400


def test_a_class_that_is_never_predicted_has_no_centre_and_breaks_nothing(seen):
    heads = seen.snapshot.heads | {name: seen.snapshot.heads[name].clone() for name in ("first", "second")}
    for name in ("first", "second"):
        heads[name][:, 3] = -100.0
    snapshot = replace(seen.snapshot, heads=heads)
    division, _ = tscsi.divide(snapshot, seen.given, None, TSCSIConfig(tau_d=0.0, keep_share=0.0), {}, None)
    assert division.weight.isfinite().all() and not division.labelled[seen.given == 3].any()
    assert division.labelled.any()
    kept, _ = tscsi.divide(snapshot, seen.given, None, TSCSIConfig(keep_share=0.1), {}, None)
    assert kept.labelled[seen.given == 3].sum() == -(-int((seen.given == 3).sum()) // 10)


# -- stage 2


def test_disagreement_is_the_l1_distance_of_the_probabilities(seen):
    heads = {name: seen.snapshot.heads[name].double() for name in ("first", "second")}
    expected = [gap_by_hand(*rows) for rows in zip(heads["first"].tolist(), heads["second"].tolist(), strict=True)]
    assert disagreement(heads).tolist() == pytest.approx(expected) and 0.5 < max(expected) <= 2


def test_the_loss_that_drives_the_heads_apart_weighs_samples_by_the_share_of_their_class(seen):
    labels = [0, 0, 1, 2, 2, 2]
    shares = {0: 0.5, 1: 0.2, 2: 0.3}
    heads = {name: seen.snapshot.heads[name][:6].double() for name in ("first", "second")}
    total = sum(shares[label] for label in labels)
    gaps = [gap_by_hand(*rows) for rows in zip(heads["first"].tolist(), heads["second"].tolist(), strict=True)]
    expected = -sum(shares[label] / total * gap for label, gap in zip(labels, gaps, strict=True)) / 6
    weights = torch.tensor([shares[label] for label in labels], dtype=torch.float64)
    assert float(apart_loss(heads, weights)) == pytest.approx(expected)


@pytest.fixture(scope="module")
def gaps():
    """Disagreements of 400 samples, each class on a scale of its own: half of a class near its low end."""
    g = torch.Generator().manual_seed(1)
    labels, high = torch.arange(400) % 4, torch.rand(400, generator=g) < 0.5
    gap = (labels + 1) * (0.02 + 0.3 * high) + 0.02 * torch.rand(400, generator=g)
    central = torch.rand(400, generator=g) < 0.8
    return torch.where(central, gap, 9.0).float(), labels, central  # nobody asks the others


def test_consistency_is_a_mixture_for_each_given_class_of_the_central_samples(gaps):
    gap, labels, central = gaps
    expected = torch.zeros(400, dtype=torch.bool)
    for c in range(4):
        rows = [i for i in range(400) if labels[i] == c and central[i]]
        for i, p in zip(rows, low_posterior(gap[rows], max_iter=10, tol=1e-2), strict=True):
            expected[i] = bool(p >= 0.5)
    found = consistency(gap, central, labels, 4, TSCSIConfig(tau_d=0.5))
    assert torch.equal(found, expected) and 100 < found.sum() < central.sum() - 100
    # One mixture for all classes would call all of the first class consistent.
    assert not found[(labels == 0) & central].all()


@pytest.mark.parametrize("tau_d", [0.0, 0.3, 1.0])
def test_the_second_stage_takes_central_samples_away_and_adds_none(gaps, tau_d):
    gap, labels, central = gaps
    found = consistency(gap, central, labels, 4, TSCSIConfig(tau_d=tau_d))
    assert not (found & ~central).any()
    assert torch.equal(found, central) == (tau_d == 0.0)


def test_without_a_central_sample_nothing_is_consistent(gaps):
    gap, labels, central = gaps
    for tau_d in (0.0, 0.5):
        assert not consistency(gap, torch.zeros_like(central), labels, 4, TSCSIConfig(tau_d=tau_d)).any()


def test_a_division_names_who_passes_which_stage_and_trusts_by_the_first(seen):
    gap = torch.where(torch.arange(400) % 8 < 4, 0.1, 1.5)[:, None]
    snapshot = replace(seen.snapshot, heads=seen.snapshot.heads | {"gap": gap})
    config = TSCSIConfig(tau_d=0.5, keep_share=0.0)
    prob, central = centrality(snapshot, seen.given, config)
    division, report = tscsi.divide(snapshot, seen.given, None, config, {}, None)
    names = np.array(tscsi.SETS)[division.membership]
    for i in range(400):
        kind = ("consistent" if i % 8 < 4 else "inconsistent") if central[i] else "peripheral"
        assert names[i] == kind and bool(division.labelled[i]) == (kind == "consistent")
    assert len(set(names)) == 3 and torch.equal(report["gap"], gap[:, 0])
    assert torch.equal(division.weight, prob) and torch.equal(division.target, seen.given)


# -- what moves and what must not


def moved(network, before) -> set[str]:
    """The parts of a network whose parameters are no longer those of a copy."""
    parts = {"body": network.body, "classifier": network.classifier, "side": network.heads["side"]}
    parts |= {name: network.heads[name][1] for name in tscsi.AUXILIARY}
    old = {"body": before.body, "classifier": before.classifier, "side": before.heads["side"]}
    old |= {name: before.heads[name][1] for name in tscsi.AUXILIARY}
    return {
        name
        for name, part in parts.items()
        if any(not torch.equal(a, b) for a, b in zip(part.parameters(), old[name].parameters(), strict=True))
    }


def with_gradient(network) -> set[str]:
    parts = {"body": network.body, "classifier": network.classifier, "side": network.heads["side"]}
    parts |= {name: network.heads[name][1] for name in tscsi.AUXILIARY}
    return {name for name, part in parts.items() if any(p.grad is not None for p in part.parameters())}


def test_both_heads_read_the_same_projection():
    state = fresh(settings=TSCSIConfig(side_dim=7))
    _, features, heads = state.student.eval()(Steps(state).plain(torch.arange(5)), with_heads=True)
    side = state.student.heads["side"][1]
    torch.testing.assert_close(heads["side"], features @ side.weight.T + side.bias)
    assert heads["side"].shape == (5, 7) and heads["first"].shape == heads["second"].shape == (5, 10)
    for name in tscsi.AUXILIARY:
        torch.testing.assert_close(heads[name], state.student.heads[name][1](heads["side"]))
    assert not torch.equal(heads["first"], heads["second"])
    assert sum(p is side.weight for p in state.student.parameters()) == 1


def test_losses_of_the_auxiliary_heads_leave_the_features_and_the_main_head_alone():
    state = fresh()
    network = state.student.train()
    _, _, heads = network(Steps(state).plain(torch.arange(20)), with_heads=True)
    (heads["first"].square().sum() + heads["second"].sum()).backward()
    assert with_gradient(network) == {"side", "first", "second"}


def test_in_the_last_step_gradients_reach_the_features_and_no_head():
    state = fresh()
    network = state.student.train()
    with tscsi.only_features_learn(network):
        _, _, heads = network(Steps(state).plain(torch.arange(20)), with_heads=True)
    disagreement(heads).mean().backward()
    assert with_gradient(network) == {"body"}
    # And afterwards all is as before.
    network.zero_grad()
    _, _, heads = network(Steps(state).plain(torch.arange(20)), with_heads=True)
    disagreement(heads).mean().backward()
    assert with_gradient(network) == {"side", "first", "second"}


def mixed_batch(state, rows: int = 24) -> Mixed:
    g = torch.Generator().manual_seed(3)
    targets = torch.rand(rows, 10, generator=g).softmax(1)
    inputs = Steps(state).plain(torch.arange(rows))
    return Mixed(inputs, targets, rows // 2, 5.0, 1.0, "squared")


def ssl_by_hand(logits: torch.Tensor, mixed: Mixed, penalty: float) -> torch.Tensor:
    """Cross-entropy of the labelled half, squared error of the other one, and the penalty on class shares."""
    half, probs = mixed.num_labelled, logits.softmax(1)
    labelled = sum(-(t * p.log()).sum() for t, p in zip(mixed.targets[:half], probs[:half], strict=True)) / half
    others = sum((p - t).square().mean() for t, p in zip(mixed.targets[half:], probs[half:], strict=True))
    return (
        labelled
        + mixed.lam_u * others / (len(probs) - half)
        + penalty * sum(0.1 * (0.1 / p).log() for p in probs.mean(0))
    )


@pytest.mark.parametrize("together", [0.0, 0.7])
def test_a_mixed_step_is_three_steps_of_two_optimisers(together):
    """As in the released code: the main one holds the features and the main head, the other one all else."""
    state = fresh(ema_decay=0.0, settings=TSCSIConfig(together=together))
    learner, mixed = state.learners[0], mixed_batch(state)
    network = copy.deepcopy(learner.student).train()
    learner.student.train()
    group = {name: learner.optimiser.param_groups[0][name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
    main = torch.optim.SGD([*network.body.parameters(), *network.classifier.parameters()], **group)
    other = torch.optim.SGD(network.heads.parameters(), **group)
    for _ in range(2):  # the second one has momentum
        logits, features = network(mixed.inputs)
        loss = ssl_by_hand(logits, mixed, 1.0)
        outputs = {name: network.heads[name](features.detach()) for name in tscsi.AUXILIARY}
        auxiliary = sum(ssl_by_hand(output, mixed, 0.5) for output in outputs.values())
        for optimiser, value in ((main, loss), (other, auxiliary)):
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        if together:
            _, features = network(mixed.inputs)
            # Past the gate, which is shut in this copy.
            side = network.heads["side"][1](features)
            first, second = (network.heads[name][1](side).softmax(1) for name in tscsi.AUXILIARY)
            main.zero_grad()
            (together * (first - second).abs().sum(1).mean()).backward()
            main.step()
        given = tscsi.mixed_step(Steps(state), learner, mixed, state.config.settings)
        assert float(given) == pytest.approx(float(loss.detach()), abs=1e-4) and not given.requires_grad
    for (name, a), b in zip(learner.student.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4, msg=name)


def test_the_last_step_moves_the_features_towards_heads_that_agree():
    state = fresh(ema_decay=0.0, settings=TSCSIConfig(together=1.0), learning_rate=0.01, weight_decay=0.0)
    learner, mixed = state.learners[0], mixed_batch(state)
    network = learner.student.train()
    before = copy.deepcopy(network)
    gaps = []
    for _ in range(5):
        with tscsi.only_features_learn(network):
            gap = disagreement(network(mixed.inputs, with_heads=True)[2]).mean()
            Steps(state).update(learner, gap)
        gaps.append(float(gap.detach()))
    assert moved(network, before) == {"body"} and gaps[-1] < gaps[0] - 0.01


def test_training_apart_moves_the_two_heads_alone_and_they_disagree_more():
    state = fresh(settings=TSCSIConfig(apart=10.0, apart_steps=30))
    learner, rows = state.learners[0], torch.arange(100)
    steps = Steps(state)

    def gap() -> float:
        with torch.no_grad():
            return float(disagreement(learner.student.eval()(steps.plain(rows), with_heads=True)[2]).mean())

    before, first, step = copy.deepcopy(learner.student), gap(), learner.step
    averages = copy.deepcopy(learner.teacher.state_dict())
    tscsi.train_apart(steps, learner, rows, state.config.settings)
    assert moved(learner.student, before) == {"first", "second"} and gap() > first + 0.05
    momenta = [values["momentum_buffer"] for values in learner.optimiser.state.values()]
    assert learner.step == step and not any(bool(momentum.any()) for momentum in momenta)
    assert all(torch.equal(a, b) for a, b in zip(averages.values(), learner.teacher.state_dict().values(), strict=True))


def test_one_step_apart_by_hand(monkeypatch):
    """Twelve samples in one batch, without random views and momentum."""
    state = fresh(settings=TSCSIConfig(apart=2.0, apart_steps=1), batch_size=12, pad=0, momentum=0.0, weight_decay=0.0)
    learner, rows = state.learners[0], torch.arange(50, 62)
    network, labels = copy.deepcopy(learner.student).train(), state.given_labels[rows].tolist()
    _, features = network(Steps(state).plain(rows))
    side = network.heads["side"][1](features.detach())
    first, second = (network.heads[name][1](side).softmax(1) for name in tscsi.AUXILIARY)
    weights = [labels.count(label) for label in labels]
    loss = -2.0 * sum(w / sum(weights) * (first - second).abs().sum(1)[i] for i, w in enumerate(weights)) / 12
    loss.backward()
    tscsi.train_apart(Steps(state), learner, rows, state.config.settings)
    rate = learner.optimiser.param_groups[0]["lr"]
    for name in tscsi.AUXILIARY:
        pairs = zip(learner.student.heads[name][1].parameters(), network.heads[name][1].parameters(), strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs - rate * theirs.grad, atol=1e-6, rtol=1e-5)


def test_a_look_adds_the_students_disagreement_on_the_central_samples_and_nothing_else():
    *_, last = run(small(), *prepare(small().resolved()))
    state, learner = last.state, last.state.learners[0]
    snapshot = observe(state)
    looked = tscsi.look(Steps(state), learner, snapshot, state.config.settings)
    assert set(looked.heads) == {"side", "first", "second", "gap"} and set(snapshot.heads) == {
        "side",
        "first",
        "second",
    }
    _, central = centrality(snapshot, state.given_labels, state.config.settings)
    with torch.no_grad():
        for i in range(0, 300, 17):
            _, _, heads = learner.student.eval()(Steps(state).plain(torch.tensor([i])), with_heads=True)
            expected = gap_by_hand(heads["first"][0].tolist(), heads["second"][0].tolist()) if central[i] else 0.0
            assert float(looked.heads["gap"][i]) == pytest.approx(expected, abs=1e-4)
    assert central.any() and not central.all()


def test_the_engine_divides_what_the_method_has_looked_at():
    state = fresh()
    _, report = divide(state, observe(state))
    assert float(report["gap"].max()) > 0 and float(report["gap"].min()) == 0


def test_the_warm_up_teaches_the_auxiliary_heads_the_given_labels():
    batch = SimpleNamespace(
        heads={"first": torch.tensor([[0.0, 0.0]]), "second": torch.tensor([[1.0, 0.0]])}, labels=torch.tensor([0])
    )
    expected = np.log(2) + np.log(1 + np.exp(-1))
    assert float(tscsi.warmup_loss(batch, TSCSIConfig())) == pytest.approx(expected)
    config = small(epochs=6, warmup_epochs=5, rate=0.0).resolved()
    for epoch in run(config, *prepare(config)):
        if epoch.row["phase"] == "warmup":
            state = epoch.state
    snapshot = observe(state)
    for name in tscsi.AUXILIARY:
        assert float((snapshot.heads[name].argmax(1) == state.given_labels).float().mean()) > 0.7


# -- the released settings


@pytest.mark.parametrize(
    ("dataset", "rate", "tau_p", "tau_d"),
    [
        ("cifar10", 0.2, 0.4, 0.0),
        ("cifar10", 0.6, 0.4, 0.0),
        ("cifar100", 0.2, 0.4, 0.0),
        ("cifar100", 0.4, 0.5, 0.0),
        ("cifar100", 0.6, 0.3, 0.3),
        ("digits", 0.6, 0.4, 0.0),
    ],
)
def test_the_paper_preset_has_the_thresholds_of_dataset_and_rate(dataset, rate, tau_p, tau_d):
    config = TrainConfig(method="tscsi", preset="paper", dataset=dataset, noise="idn_xia", rate=rate).resolved()
    assert (config.settings.tau_p, config.settings.tau_d, config.settings.apart_steps) == (tau_p, tau_d, 100)
    assert (config.settings.apart, config.settings.together) == (0.1, 0.1)
    assert (config.networks, config.ssl.lam_u, config.ssl.alpha, config.settings.keep_share) == (2, 25, 4, 0)


def test_the_paper_preset_has_the_network_and_length_of_its_budget_and_clothing1m_its_own():
    for dataset in ("cifar10", "cifar100"):
        config = TrainConfig(method="tscsi", preset="paper", dataset=dataset, budget="long").resolved()
        assert (config.network, config.epochs, config.warmup_epochs) == ("resnet34", 300, 30)
        assert (config.learning_rate, config.weight_decay, config.batch_size) == (0.02, 5e-4, 64)
    config = TrainConfig(method="tscsi", preset="paper", dataset="clothing1m", noise="given", budget="long").resolved()
    assert (config.network, config.ssl.lam_u, config.settings.apart, config.settings.tau_d) == ("resnet50", 0, 2.3, 0.5)
    tuned = TrainConfig(method="tscsi", dataset="cifar10", budget="long").resolved()
    assert (tuned.networks, tuned.network) == (1, "preact_resnet18") and tuned.settings == tscsi.PRESETS["tuned"]
    assert tscsi.PRESETS["tuned"].tau_d > 0  # its second stage has something to say


# -- training


def blobs(n: int = 300, dim: int = 12, k: int = 3) -> Dataset:
    """Three overlapping clouds."""
    g = torch.Generator().manual_seed(0)
    centres = 1.5 * torch.randn(k, dim, generator=g)
    draws = [(centres[torch.arange(size) % k] + torch.randn(size, dim, generator=g)) for size in (n, 90)]
    return Dataset("blobs", draws[0], torch.arange(n) % k, draws[1], torch.arange(90) % k, ("a", "b", "c"))


@pytest.mark.parametrize("network", ["mlp", "linear"])
@pytest.mark.parametrize("networks", [1, 2])
def test_vectors_are_learnt_also_where_the_features_are_the_inputs(network, networks):
    config = small(dataset="blobs", subset=None, network=network, networks=networks, batch_size=32, epochs=6)
    result = train(config, blobs())
    assert result.last > 85 and result.history[-1]["labelled"]["precision"] > 0.85


@pytest.mark.parametrize(
    "changes",
    [
        {"subset": 30, "networks": 2},
        {"subset": None, "balanced_images": 100, "holdout": 0.2},
        {"preset": "paper", "subset": 60, "holdout": 0.1},
        {"settings": TSCSIConfig(tau_p=1.0, keep_share=0.0)},
        {"settings": TSCSIConfig(apart_steps=0, together=0.0)},
    ],
    ids=["tiny", "balanced", "paper", "nothing central", "without both steps"],
)
def test_small_and_changing_data_and_empty_stages_are_no_obstacle(changes):
    result = train(small(**changes))
    assert [row["phase"] for row in result.history] == ["warmup", "ssl", "ssl"]
    assert all(np.isfinite(row["train_loss"]) for row in result.history)


@pytest.mark.parametrize(
    "changes",
    [{"preset": "paper"}, {"subset": None, "balanced_images": 100, "holdout": 0.2}],
    ids=["paper", "balanced and hold-out"],
)
def test_a_run_that_stops_after_every_epoch_ends_as_one_that_does_not(changes, tmp_path, same):
    config = small(**changes)
    train(config, folder=tmp_path / "whole")
    for _ in range(2):
        with pytest.raises(Paused):
            train(config, folder=tmp_path / "parts", time_budget=0)
    train(config, folder=tmp_path / "parts")
    whole, parts = (read(tmp_path / name / NAME) for name in ("whole", "parts"))
    assert same(whole["learners"], parts["learners"]) and same(whole["generator"], parts["generator"])
    assert same(whole["samples"], parts["samples"]) and len(whole["learners"]) == config.resolved().networks


def test_a_short_training_ends_far_above_cross_entropy():
    """600 digits, half of the labels drawn anew: about 91 and 97."""
    runs = {
        method: train(small(method=method, subset=600, rate=0.5, epochs=15, warmup_epochs=None, seed=1))
        for method in ("ce", "tscsi")
    }
    assert runs["tscsi"].last > runs["ce"].last + 3
    last = runs["tscsi"].history[-1]
    assert last["labelled"]["precision"] > 0.95 and last["sets"]["peripheral"]["precision"] > 0.85
