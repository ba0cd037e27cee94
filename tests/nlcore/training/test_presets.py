from dataclasses import fields

import pytest

from nlcore import TrainConfig
from nlcore.data.datasets import DATASETS
from nlcore.methods import METHODS, brings
from nlcore.noise.corrupt import NOISES
from nlcore.training.config import with_overrides
from nlcore.training.mixmatch import SSLConfig
from nlcore.training.networks import NETWORKS
from nlcore.training.presets import BUDGETS, PRESETS, RECIPES, TABLE, TRAINING_PRESETS, sources


def resolved(**changes) -> TrainConfig:
    return TrainConfig(**{"dataset": "cifar10"} | changes).resolved()


DIVIDING = [name for name in METHODS if brings(name, "divide")]


@pytest.mark.parametrize("method", DIVIDING)
@pytest.mark.parametrize(
    ("dataset", "noise", "rate", "expected"),
    [
        ("cifar10", "symmetric", 0.2, 0),
        ("cifar10", "symmetric", 0.5, 25),
        ("cifar10", "symmetric", 0.8, 25),
        ("cifar10", "symmetric", 0.9, 50),
        ("cifar10", "asymmetric", 0.4, 0),
        ("cifar10", "asymmetric", 0.1, 0),
        ("cifar10", "human:worst", None, 25),
        ("cifar10", "idn_pmd", 0.4, 25),
        ("cifar100", "symmetric", 0.2, 25),
        ("cifar100", "symmetric", 0.5, 150),
        ("cifar100", "symmetric", 0.8, 150),
        ("cifar100", "symmetric", 0.9, 150),
        ("tiny_imagenet", "symmetric", 0.2, 30),
        ("tiny_imagenet", "symmetric", 0.5, 30),
        ("clothing1m", "given", None, 0),
        ("digits", "symmetric", 0.5, 25),
    ],
)
def test_lambda_u_of_the_paper_preset_depends_on_dataset_noise_and_rate(method, dataset, noise, rate, expected):
    config = resolved(method=method, preset="paper", dataset=dataset, noise=noise, rate=rate)
    if method == "tscsi" and dataset != "clothing1m":
        expected = 25  # whatever the noise: its released code has one value
    assert config.ssl.lam_u == expected


@pytest.mark.parametrize(("dataset", "rate"), [("cifar10", 0.9), ("cifar100", 0.5)])
def test_lambda_u_of_the_tuned_preset_is_the_same_everywhere(dataset, rate):
    assert resolved(dataset=dataset, rate=rate).ssl == SSLConfig()


@pytest.mark.parametrize("preset", TRAINING_PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_the_confidence_penalty_is_for_asymmetric_noise_and_methods_that_divide(method, preset):
    penalties = {
        noise: resolved(method=method, preset=preset, noise=noise, rate=0.4).confidence_penalty
        for noise in ("symmetric", "asymmetric", "pairflip", "idn_pmd")
    }
    assert penalties.pop("asymmetric") == (1 if method in DIVIDING else 0)
    assert set(penalties.values()) == {0}


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_averaged_over_five_epochs_from_ninety_per_cent_noise(method):
    histories = {rate: resolved(method=method, rate=rate).loss_history for rate in (0.0, 0.8, 0.89, 0.9, 0.95)}
    assert histories == {0.0: 1, 0.8: 1, 0.89: 1} | dict.fromkeys((0.9, 0.95), 5 if method in DIVIDING else 1)
    assert resolved(method=method, noise="human:worst", rate=0.9).loss_history == 1  # has no nominal rate


# -- budgets


@pytest.mark.parametrize("preset", TRAINING_PRESETS)
@pytest.mark.parametrize(
    ("budget", "dataset", "network", "epochs", "warmup"),
    [
        ("short", "cifar10", "preact_resnet18", 60, 10),
        ("short", "cifar100", "preact_resnet18", 60, 15),
        ("short", "tiny_imagenet", "preact_resnet18", 60, 10),
        ("long", "cifar10", "preact_resnet18", 300, 10),
        ("long", "cifar100", "preact_resnet18", 300, 30),
        ("short", "clothing1m", "resnet50", 80, 1),
        ("long", "clothing1m", "resnet50", 80, 1),
    ],
)
def test_a_budget_decides_network_and_lengths(preset, budget, dataset, network, epochs, warmup):
    noise = "given" if dataset == "clothing1m" else "symmetric"
    config = resolved(budget=budget, dataset=dataset, preset=preset, noise=noise)
    assert (config.network, config.epochs, config.warmup_epochs) == (network, epochs, warmup)
    assert config.pretrained == (dataset == "clothing1m") and config.budget == budget
    assert config.resolved() == config


def test_clothing1m_has_the_optimiser_of_dividemix():
    config = resolved(budget="long", dataset="clothing1m", noise="given", preset="paper")
    assert (config.learning_rate, config.weight_decay, config.batch_size) == (0.002, 1e-3, 32)
    assert (config.ssl.alpha, config.ssl.lam_u, config.balanced_images) == (0.5, 0, 32_000)


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_length_of_ones_own_has_the_recipes_share_of_warm_up(budget):
    assert resolved(budget=budget, epochs=20).warmup_epochs == 6
    assert resolved(budget=budget, epochs=1).warmup_epochs == 0
    assert resolved(budget=budget, epochs=20, warmup_epochs=3).warmup_epochs == 3


def test_a_warm_up_of_ones_own_keeps_the_budgets_epochs():
    config = resolved(budget="short", warmup_epochs=3)
    assert (config.epochs, config.warmup_epochs) == (60, 3)


def test_without_a_budget_the_recipe_counts():
    config = resolved()
    assert (config.network, config.epochs, config.warmup_epochs) == ("small", 60, 18)


def test_average_weights_of_a_budget_remember_longer_and_those_of_the_paper_preset_are_off():
    assert [resolved(budget=budget).ema_decay for budget in (None, *BUDGETS)] == [0.99, 0.998, 0.998]
    assert {resolved(budget=budget, preset="paper").ema_decay for budget in (None, *BUDGETS)} == {0.0}


def test_every_method_runs_to_the_same_length_in_a_budget():
    lengths = {method: resolved(budget="short", method=method).epochs for method in METHODS}
    assert set(lengths.values()) == {60} and resolved(budget="short", method="ce").warmup_epochs == 60


# -- by hand


def test_what_is_set_by_hand_wins_over_the_table():
    config = TrainConfig(dataset="cifar10", noise="asymmetric", preset="paper", budget="long")
    by_hand = {"lam_u": 7.0, "confidence_penalty": 0.25, "network": "tiny", "epochs": 12, "warmup_epochs": 5}
    config = with_overrides(config, by_hand).resolved()
    assert (config.ssl.lam_u, config.ssl.strong, config.confidence_penalty) == (7.0, True, 0.25)
    assert (config.network, config.epochs, config.warmup_epochs) == ("tiny", 12, 5)


def test_one_value_of_semi_supervised_training_set_by_hand_leaves_the_others_to_the_table():
    config = TrainConfig(dataset="cifar100", rate=0.5, preset="paper")
    assert with_overrides(config, {"rampup_epochs": 2}).resolved().ssl.lam_u == 150
    # The table is asked for what the overrides make of the run.
    assert with_overrides(config, {"rampup_epochs": 2, "rate": 0.2}).resolved().ssl.lam_u == 25
    assert with_overrides(config, {"rampup_epochs": 2, "dataset": "cifar10"}).resolved().ssl.lam_u == 25
    assert with_overrides(config, {"rampup_epochs": 2, "preset": "tuned"}).resolved().ssl == SSLConfig(rampup_epochs=2)


def test_zero_by_hand_is_not_taken_for_open():
    config = resolved(noise="asymmetric", confidence_penalty=0.0, ema_decay=0.0)
    assert (config.confidence_penalty, config.ema_decay) == (0.0, 0.0)


# -- the table itself


def test_every_row_has_a_source_and_sets_fields_of_the_configuration():
    names = {f.name for kind in (TrainConfig, SSLConfig) for f in fields(kind)}
    for row in TABLE:
        assert row.source.strip() and row.values and set(row.values) <= names, row
    for recipe in RECIPES.values():
        assert set(recipe) <= names | {"warmup"} and recipe["network"] in NETWORKS


def test_the_conditions_of_every_row_and_recipe_are_names_that_exist():
    for row in TABLE:
        names = {"dataset": DATASETS, "network": NETWORKS, "noise": NOISES, "budget": BUDGETS, "preset": PRESETS}
        assert [name for name, known in names.items() if getattr(row, name) not in (None, *known)] == [], row
    assert set(RECIPES) <= {*DATASETS, "vectors"}


def test_tiny_imagenet_has_the_familys_learning_rate():
    assert resolved(dataset="tiny_imagenet").learning_rate == 0.01


def test_a_linear_network_on_vectors_learns_in_smaller_steps():
    rates = [resolved(dataset="cifar10_features", network=network).learning_rate for network in (None, "linear")]
    assert rates == [0.05, 0.01]


def test_the_network_made_for_a_processor_has_a_short_schedule_of_its_own():
    config = resolved(dataset="cifar10", network="whitened")
    assert (config.epochs, config.warmup_epochs, config.batch_size, config.schedule) == (12, 4, 128, "one_cycle")
    assert resolved(dataset="cifar10").epochs == 60


def test_every_row_applies_to_some_run():
    noises = {"symmetric": (0.2, 0.5, 0.9), "asymmetric": (0.4,), "given": (None,)}
    runs = [
        TrainConfig(
            dataset=dataset, method=method, preset=preset, budget=budget, noise=noise, rate=rate, network=network
        )
        for dataset in (*RECIPES, "tiny_imagenet")
        for network in (None, "linear", "whitened")
        for method in METHODS
        for preset in TRAINING_PRESETS
        for budget in (None, *BUDGETS)
        for noise, rates in noises.items()
        for rate in rates
    ]
    assert [row for row in TABLE if not any(row.fits(run) for run in runs)] == []


def test_the_sources_of_a_run_are_those_of_its_rows_in_order():
    run = TrainConfig(dataset="cifar100", noise="symmetric", rate=0.9, budget="long", preset="paper", method="tssd")
    values, words = zip(*sources(run), strict=True)
    merged = {name: value for row in values for name, value in row.items()}
    assert merged == {
        "network": "preact_resnet18",
        "epochs": 300,
        "warmup_epochs": 30,
        "loss_history": 5,
        "strong": True,
        "lam_u": 150.0,
    }
    assert all(words) and any("DivideMix" in word for word in words)
    assert sources(TrainConfig()) == []


@pytest.mark.parametrize("dataset", RECIPES)
@pytest.mark.parametrize("preset", TRAINING_PRESETS)
@pytest.mark.parametrize("budget", [None, *BUDGETS])
@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_whatever_the_table_fills_in_is_a_valid_configuration(dataset, preset, budget, rate):
    for method in METHODS:
        for noise in ("symmetric", "asymmetric", "given"):
            run = TrainConfig(dataset=dataset, method=method, preset=preset, budget=budget, noise=noise, rate=rate)
            if dataset == "clothing1m" and noise != "given":
                continue  # has its own noise, and its true labels are not known
            config = run.resolved()
            assert [name for name, value in config.to_dict().items() if value is None and name != "rate"] == (
                ["subset"] if budget else ["budget", "subset"]
            )
