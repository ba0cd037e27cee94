from dataclasses import replace

import pytest
import torch

from nlcore import Dataset, InputError, TrainConfig, corrupt, load_dataset, train
from nlcore.methods import METHODS, brings, labelled_sets, set_names, tssd
from nlcore.training import engine, kept
from nlcore.training.mixmatch import PAPER_SSL, batches
from nlcore.training.run import prepare
from nlcore.training.state import start

COMBINATIONS = [(method, preset) for method in METHODS for preset in ("tuned", "paper")]


def small(**changes) -> TrainConfig:
    """300 digits, one epoch of warm-up and two of the method."""
    return TrainConfig(**{"subset": 300, "epochs": 3, "warmup_epochs": 1, "device": "cpu"} | changes)


@pytest.fixture(scope="module")
def finished():
    """A finished run of every method and preset, made once."""
    runs = {}

    def get(method: str, preset: str = "tuned"):
        if (method, preset) not in runs:
            runs[method, preset] = train(small(method=method, preset=preset))
        return runs[method, preset]

    return get


def numbers(result) -> list[dict]:
    """The history without what a clock says; NaN made comparable."""
    return [{k: repr(v) for k, v in row.items() if k != "seconds"} for row in result.history]


@pytest.mark.parametrize(("method", "preset"), COMBINATIONS)
def test_every_method_runs_from_warm_up_to_its_own_epochs(finished, method, preset):
    result = finished(method, preset)
    after = "ssl" if brings(method, "divide") else "own" if brings(method, "batch_loss", "own_epoch") else "warmup"
    phases = ["warmup", after, after]
    assert [row["phase"] for row in result.history] == phases
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    accuracy = [row["test_accuracy"] for row in result.history]
    assert (result.best, result.last) == (max(accuracy), accuracy[-1])
    assert result.last10 == pytest.approx(sum(accuracy) / 3)
    assert result.config == small(method=method, preset=preset).resolved()


def test_a_few_epochs_learn_most_of_the_glyphs():
    result = train(TrainConfig(dataset="glyphs", rate=0.0, method="ce", epochs=6, device="cpu"))
    assert 70 < result.last < 95


@pytest.mark.parametrize(("method", "preset"), [c for c in COMBINATIONS if brings(c[0], "divide")])
def test_every_epoch_of_a_method_records_its_sets_and_the_classes_of_the_labelled_one(finished, method, preset):
    for row in finished(method, preset).history[1:]:
        assert tuple(row["sets"]) == set_names(method)
        assert sum(s["size"] for s in row["sets"].values()) == 300
        assert len(row["labelled"]["histogram"]) == 10
        assert sum(row["labelled"]["histogram"]) == row["labelled"]["size"]
        assert row["labelled"]["size"] == sum(row["sets"][name]["size"] for name in labelled_sets(method))


@pytest.mark.parametrize(("method", "preset"), COMBINATIONS)
def test_the_samples_are_one_entry_a_training_image_with_its_labels(finished, method, preset):
    samples = finished(method, preset).samples
    dataset, noisy = prepare(small())
    assert list(samples) == ["index", "given_label", "true_label", "set", "clean_prob", "corrected_label"]
    assert samples["index"] == dataset.train_index.tolist()  # rows of all digits, not of the subset
    assert samples["given_label"] == noisy.given_labels.tolist() and samples["true_label"] == noisy.true_labels.tolist()
    assert set(samples["set"]) <= set(set_names(method))
    assert all(0 <= p <= 1 for p in samples["clean_prob"]) and set(samples["corrected_label"]) <= set(range(10))


@pytest.mark.parametrize(("method", "preset"), COMBINATIONS)
def test_the_same_seed_gives_the_same_numbers_and_leaves_the_global_random_state(
    finished, method, preset, unchanged_global_state
):
    first = finished(method, preset)
    torch.rand(7)
    with unchanged_global_state():
        again = train(small(method=method, preset=preset))
    assert numbers(first) == numbers(again) and first.samples == again.samples


def test_another_seed_gives_other_noise_and_other_numbers(finished):
    first, other = finished("tssd"), train(small(method="tssd", seed=1))
    assert first.samples["given_label"] != other.samples["given_label"]
    assert numbers(first) != numbers(other)


def test_a_few_epochs_learn_digits():
    """No collapse, no broken plumbing: far above chance, and better than the labels it was given."""
    result = train(TrainConfig(method="tssd", rate=0.2, epochs=5, warmup_epochs=3, device="cpu"))
    assert result.last > 85


def test_strong_views_and_golden_samples_and_both_losses_run():
    settings = replace(tssd.PRESETS["tuned"], meta="golden", golden=100)
    ssl = replace(PAPER_SSL, strong=True)
    result = train(small(settings=settings, ssl=ssl))
    assert len(result.samples["index"]) == 200 and len(set(result.samples["index"])) == 200
    assert result.history[-1]["sets"]


# -- data of one's own


def test_a_golden_set_is_left_out_of_training_and_knows_the_true_labels():
    config = small(settings=replace(tssd.PRESETS["tuned"], meta="golden", golden=60)).resolved()
    dataset, noisy = prepare(config)
    state = start(config, dataset, noisy)
    assert len(state.index) == 240 == len(state.images)
    kept = torch.isin(dataset.train_index, state.index)
    left_out = (~kept).nonzero().flatten()
    assert torch.equal(state.golden[0], dataset.train_images[left_out])
    assert torch.equal(state.golden[1], noisy.true_labels[left_out])
    assert torch.equal(state.given_labels, noisy.given_labels[kept])


def test_a_golden_set_that_leaves_nothing_to_train_on_is_refused():
    settings = replace(tssd.PRESETS["tuned"], meta="golden", golden=300)
    with pytest.raises(InputError, match="golden set of 300"):
        train(small(settings=settings))


def test_a_golden_set_needs_known_true_labels():
    settings = replace(tssd.PRESETS["tuned"], meta="golden", golden=60)
    with pytest.raises(InputError, match="true labels"):
        train(small(settings=settings, noise="given"))


@pytest.fixture(scope="module")
def own_dataset():
    digits = load_dataset("digits").subset(200)
    return replace(digits, name="mine", train_images=255 - digits.train_images)


@pytest.mark.parametrize("method", ["ce", "tssd", "anchor"])
def test_labels_as_they_are_have_no_truth_to_compare_with(own_dataset, method):
    config = small(dataset="mine", noise="given", method=method, subset=None, network="digits_cnn", pad=1)
    result = train(config, own_dataset)
    assert result.noise["realised_rate"] is None and set(result.samples["true_label"]) == {""}
    assert result.samples["given_label"] == own_dataset.train_labels.tolist()
    if method != "ce":
        labelled = result.history[-1]["labelled"]
        assert labelled["precision"] is None and labelled["recall"] is None and labelled["f1"] is None
        assert sum(labelled["histogram"]) == labelled["size"]


def test_a_dataset_passed_in_is_used_instead_of_the_named_one(own_dataset):
    result = train(small(dataset="mine", subset=None, method="ce", epochs=1, network="digits_cnn"), own_dataset)
    assert len(result.samples["index"]) == 200 and "mine[200 of 1347]" in result.noise["identity"]


def test_a_dataset_passed_in_brings_its_name_and_so_its_recipe(own_dataset):
    config = TrainConfig(epochs=1, batch_size=32, method="ce", device="cpu")
    result = train(config, own_dataset)
    assert result.config == replace(config, dataset="mine").resolved()
    assert (result.config.dataset, result.config.network, result.config.pad) == ("mine", "small", 4)  # not of digits


@pytest.mark.parametrize("runs", [engine.run, kept.run])
def test_the_loop_takes_the_name_of_the_dataset_too(own_dataset, runs):
    config = small(method="ce", subset=None, network="digits_cnn")
    epoch = next(iter(runs(config, *prepare(config, own_dataset))))
    assert epoch.state.config == replace(config, dataset="mine").resolved()


@pytest.mark.parametrize("config", [small().resolved(), small(settings=tssd.TSSDConfig()), small(ssl=PAPER_SSL)])
@pytest.mark.parametrize("use", [train, prepare, lambda *a: next(engine.run(*a, None)), lambda *a: start(*a, None)])
def test_a_configuration_that_is_filled_in_for_another_dataset_is_refused(own_dataset, config, use):
    with pytest.raises(InputError, match=r"for the dataset 'digits' and is used with 'mine'; .*dataset='mine'"):
        use(config, own_dataset)


def test_grey_images_of_odd_size_with_two_classes_run(rng):
    labels = torch.arange(120) % 2
    images = (torch.rand(120, 1, 9, 7, generator=rng) * 100 + 100 * labels[:, None, None, None]).to(torch.uint8)
    dataset = Dataset("odd", images, labels, images[:20], labels[:20], ("dark", "bright"))
    result = train(small(dataset="odd", subset=None, network="digits_cnn", pad=1, noise="pairflip", rate=0.2), dataset)
    assert result.last > 60


# -- the parts of the loop


def test_on_epoch_is_told_of_every_epoch():
    told = []
    train(small(method="dividemix"), on_epoch=lambda epoch: told.append((epoch.row["epoch"], epoch.division is None)))
    assert told == [(1, True), (2, False), (3, False)]


def test_without_momentum_it_is_plain_sgd():
    config = small(method="ce", epochs=1, momentum=0.0).resolved()
    (group,) = start(config, *prepare(config)).learners[0].optimiser.param_groups
    assert (group["momentum"], group["nesterov"]) == (0.0, False)


# -- what can go wrong


def test_a_hold_out_of_no_image_is_refused_at_the_start():
    with pytest.raises(
        InputError, match=r"hold-out of 0\.001 is no whole sample of 300; set holdout to 0\.0033 or more"
    ):
        train(small(holdout=0.001))
    config = small(holdout=0.0033).resolved()
    assert len(start(config, *prepare(config)).holdout[1]) == 1


@pytest.mark.parametrize(
    ("changes", "left"),
    [({}, 300), ({"holdout": 0.1}, 270), ({"balanced_images": 100, "loss_history": 1}, 100)],
    ids=str,
)
def test_a_batch_never_holds_a_sample_twice_because_the_set_is_smaller(changes, left, caplog, monkeypatch):
    sizes = []
    monkeypatch.setattr("nlcore.training.steps.batches", lambda *a: (sizes.append(len(b)) or b for b in batches(*a)))
    train(small(batch_size=left, method="ce", **changes))
    assert caplog.text == "" and set(sizes) == {left}
    train(small(batch_size=left + 1, method="ce", **changes))
    assert set(sizes) == {left} and f"batch_size {left + 1} is cut to the {left} samples to train on" in caplog.text


@pytest.mark.parametrize("seconds", [-5, float("nan"), float("inf")])
def test_a_time_budget_out_of_range_is_refused_before_anything_is_loaded(seconds, monkeypatch):
    monkeypatch.setattr("nlcore.training.run.load_dataset", None)
    with pytest.raises(InputError, match="time_budget must be at least 0"):
        train(small(), time_budget=seconds)


def test_a_missing_accelerator_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="CUDA"):
        train(small(device="cuda"))


def test_labels_of_the_run_are_those_of_corrupt():
    config = small(noise="idn_xia", noise_options={"scaling": "unit"}, seed=4)
    dataset, noisy = prepare(config)
    assert len(dataset.train_labels) == 300
    assert torch.equal(noisy.given_labels, corrupt(dataset, "idn_xia", 0.4, 4, scaling="unit").given_labels)


def test_train_uses_the_threads_of_its_config_and_gives_the_others_back(monkeypatch):
    monkeypatch.setattr("nlcore.basics.cores.cores", lambda: 4)
    before, seen = torch.get_num_threads(), []
    config = TrainConfig(subset=100, epochs=1, batch_size=16, threads=before + 1)
    train(config, on_epoch=lambda epoch: seen.append(torch.get_num_threads()))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
