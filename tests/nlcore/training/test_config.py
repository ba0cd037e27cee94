import json
from dataclasses import fields, replace
from typing import get_args

import numpy as np
import pytest
import torch

from nlcore import InputError, TrainConfig, load_dataset, train
from nlcore.basics.ranges import check_fields
from nlcore.methods import METHODS, anchor, tssd
from nlcore.training.config import with_overrides
from nlcore.training.mixmatch import PAPER_SSL, SSLConfig


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", ["tuned", "paper"])
def test_resolving_fills_everything_in_and_resolving_again_changes_nothing(method, preset):
    config = TrainConfig(method=method, preset=preset).resolved()
    open_fields = [name for name, value in config.to_dict().items() if value is None]
    assert open_fields == ["budget", "subset"] and config.resolved() == config


def test_the_dataset_decides_network_and_lengths():
    digits, glyphs, cifar = (TrainConfig(dataset=name).resolved() for name in ("digits", "glyphs", "cifar10"))
    assert (digits.network, glyphs.network, cifar.network) == ("digits_small", "glyphs_small", "small")
    assert (digits.epochs, digits.warmup_epochs) == (glyphs.epochs, glyphs.warmup_epochs) == (30, 9)
    assert cifar.epochs == 60 and cifar.flip and not digits.flip and not glyphs.flip
    assert (digits.batch_size, glyphs.batch_size) == (32, 64)


def test_the_presets_differ_in_what_the_experiments_recommend():
    tuned, paper = (TrainConfig(preset=preset).resolved() for preset in ("tuned", "paper"))
    assert tuned.ema_decay == 0.99 and tuned.full_batches and tuned.recalibrate and tuned.ssl == SSLConfig()
    assert paper.ema_decay == 0 and not paper.full_batches and not paper.recalibrate
    assert (paper.ssl.alpha, paper.ssl.lam_u, paper.ssl.views, paper.ssl.unlabelled_loss) == (4, 25, 2, "squared")
    assert paper.settings.meta == "certain" and tuned.settings.meta == "synthetic"


def test_what_was_chosen_by_hand_is_kept():
    config = TrainConfig(preset="paper", ema_decay=0.5, epochs=7, warmup_epochs=2).resolved()
    assert (config.ema_decay, config.epochs, config.warmup_epochs) == (0.5, 7, 2) and not config.recalibrate


def test_changing_the_preset_of_an_open_config_changes_what_is_filled_in():
    assert replace(TrainConfig(), preset="paper").resolved().settings == tssd.PRESETS["paper"]


def test_cross_entropy_is_all_warm_up():
    assert TrainConfig(method="ce", epochs=5).resolved().warmup_epochs == 5


@pytest.mark.parametrize("method", METHODS)
def test_a_config_survives_json(method):
    for config in (TrainConfig(method=method), TrainConfig(method=method, preset="paper").resolved()):
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "'magic'.*ce, dividemix, tssd, anchor"),
        ({"preset": "best"}, "'best'.*tuned, paper"),
        ({"budget": "huge"}, "'huge'.*short, long"),
        ({"networks": 3}, r"networks must lie in \[1, 2\], not 3"),
        ({"network": "resnet"}, "'resnet'.*digits_cnn, glyphs_small, small.*preact_resnet18"),
        ({"schedule": "linear"}, "'linear'.*cosine, step, one_cycle"),
        ({"precision": "float8"}, "'float8'.*auto, bfloat16, float32"),
        ({"device": "tpu"}, "'tpu'.*auto, cpu, cuda"),
        ({"device": "cpu:foo"}, "'cpu:foo'.*auto, cpu, cuda"),
        ({"device": "cuda:"}, "'cuda:'.*auto, cpu, cuda"),
        ({"ssl": SSLConfig(unlabelled_loss="hinge")}, "'hinge'.*squared, cross_entropy"),
        ({"settings": anchor.AnchorConfig()}, "TSSDConfig, not AnchorConfig"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"pad": -1}, "pad must be at least 0"),
        ({"seed": -1}, r"seed must lie in \[0, 4294967295\], not -1"),
        ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs.*5 of 5"),
        ({"warmup_epochs": -1}, "warmup_epochs"),
        ({"ema_decay": 1.0}, "ema_decay.*1.0"),
        ({"holdout": 1.0}, "holdout.*1.0"),
        ({"holdout": -0.1}, "holdout.*-0.1"),
        ({"loss_history": 0}, "loss_history must be at least 1"),
        ({"loss_history": 2, "balanced_images": 50}, "balanced_images to 0"),
        ({"confidence_penalty": -1.0}, "confidence_penalty must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, not nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0 and finite, not inf"),
        ({"epochs": "3"}, "epochs must be at least 1, not '3'"),
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"seed": True}, "seed must lie in .*, not True"),
        ({"method": "ce", "warmup_epochs": -1}, "warmup_epochs must be at least 0"),  # cross-entropy would not use it
        ({"settings": tssd.TSSDConfig(meta="golden")}, "golden"),
        ({"settings": tssd.TSSDConfig(golden=50)}, "golden"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_one_clear_line(changes, message):
    with pytest.raises(InputError, match=message) as error:
        TrainConfig(**changes).resolved()
    assert "\n" not in str(error.value)


CONFIGS = [TrainConfig, SSLConfig, *(type(method.PRESETS["tuned"]) for method in METHODS.values())]
NUMBERS = [
    pytest.param(one, kind, id=f"{kind.__name__}.{one.name}")
    for kind in CONFIGS
    for one in fields(kind)
    if {int, float} & {one.type, *get_args(one.type)}
]


@pytest.mark.parametrize(("one", "kind"), NUMBERS)
def test_every_number_of_a_configuration_has_a_range_that_is_checked_at_both_its_ends(one, kind):
    bounds, step = one.metadata["range"], 1 if float not in {one.type, *get_args(one.type)} else 0.001
    inside, outside = [one.default], [float("nan"), float("inf")]
    for end, sign in ((bounds.low, -1), (bounds.high, 1)):
        inside += [] if end is None else [end, end - sign * step]
        outside += [] if end is None else [end + sign * step]
    for end, sign in ((bounds.above, -1), (bounds.below, 1)):
        inside += [] if end is None else [end - sign * step]
        outside += [] if end is None else [end, end + sign * step]
    for value in inside:
        check_fields(kind(**{one.name: value}))
    for value in outside:
        with pytest.raises(InputError, match=f"{one.name} must "):
            check_fields(kind(**{one.name: value}))


@pytest.mark.parametrize("method", METHODS)
def test_a_range_is_checked_wherever_the_field_lives(method):
    with pytest.raises(InputError, match="temperature must be above 0, not 0"):
        with_overrides(TrainConfig(method=method), {"temperature": 0.0}).resolved()
    if hasattr(METHODS[method].PRESETS["tuned"], "keep_share"):
        with pytest.raises(InputError, match=r"keep_share must lie in \[0, 1\], not 2"):
            with_overrides(TrainConfig(method=method), {"keep_share": 2}).resolved()


def test_numbers_of_numpy_become_those_of_python():
    settings = replace(tssd.PRESETS["tuned"], feature_rounds=np.int64(2))
    config = TrainConfig(seed=np.int64(3), rate=np.float32(0.5), epochs=np.int32(4), settings=settings)
    config = with_overrides(config, {"tau": np.float64(0.5), "batch_size": np.int64(16)})
    expected = with_overrides(TrainConfig(seed=3, rate=0.5, epochs=4), {"batch_size": 16, "feature_rounds": 2})
    assert json.dumps(config.resolved().to_dict()) == json.dumps(expected.resolved().to_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": None}, "dataset must be of type str, not None"),
        ({"noise_options": None}, r"noise_options must be of type dict.*, not None"),
        ({"ssl": 3}, r"ssl must be of type .*SSLConfig.*, not 3"),
        ({"device": torch.device("cpu")}, "device must be of type str, not device"),
        ({"flip": "no"}, "flip must be of type bool.*, not 'no'"),
        ({"compile": 1}, "compile must be of type bool, not 1"),
        ({"subset": "200"}, "subset must be at least 1, not '200', which is no number"),
        ({"seed": None}, r"seed must lie in .*, not None, which is no number"),
        ({"rate": "0.4"}, r"rate must lie in \[0, 1\), not '0\.4', which is no number"),
        ({"ssl": SSLConfig(strong="yes")}, "strong must be of type bool, not 'yes'"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_one_clear_line(changes, message):
    with pytest.raises(InputError, match=f"^{message}"):
        TrainConfig(**changes).resolved()


def test_a_run_takes_a_configuration_and_a_dataset():
    for what in ("digits", None, {"dataset": "digits"}):
        with pytest.raises(InputError, match="the configuration must be of type TrainConfig, not "):
            train(what)
    with pytest.raises(InputError, match="the data of a run must be of type Dataset, not int; load_dataset makes one"):
        train(TrainConfig(), dataset=3)
    with pytest.raises(InputError, match="the name of a dataset must be of type str, not int"):
        load_dataset(3)


def test_the_paper_presets_of_the_two_methods_train_on_strong_views_and_dividemix_does_not():
    strong = {method: TrainConfig(method=method, preset="paper").resolved().ssl for method in METHODS}
    assert strong["tssd"] == strong["anchor"] == replace(PAPER_SSL, strong=True)
    assert strong["dividemix"] == PAPER_SSL


def test_overrides_find_the_field_wherever_it_lives():
    config = with_overrides(TrainConfig(preset="paper"), {"tau": 0.7, "lam_u": 5.0, "ema_decay": 0.9}).resolved()
    assert config.settings == replace(tssd.PRESETS["paper"], tau=0.7)
    assert config.ssl == replace(PAPER_SSL, lam_u=5.0, strong=True) and config.ema_decay == 0.9


def test_overrides_leave_everything_else_open():
    assert with_overrides(TrainConfig(), {"momentum": 0.5}) == TrainConfig(momentum=0.5)


@pytest.mark.parametrize("name", ["taw", "ssl", "settings"])
def test_an_unknown_override_lists_the_valid_names(name):
    with pytest.raises(InputError, match=f"'{name}'.*ema_decay.*lam_u.*tau"):
        with_overrides(TrainConfig(), {name: 1})


def test_a_setting_of_another_method_names_its_methods():
    with pytest.raises(InputError, match=r"^tau is a setting of dividemix, tssd, anchor, not of ce$"):
        with_overrides(TrainConfig(method="ce"), {"tau": 0.7})


@pytest.mark.parametrize(
    ("name", "value"),
    [("tau", "high"), ("epochs", 2.5), ("epochs", True), ("meta", 3), ("flip", "maybe"), ("views", [2])],
)
def test_an_override_of_the_wrong_type_names_the_parameter_and_the_type(name, value):
    with pytest.raises(InputError, match=f"{name} must be of type .*not {value!r}".replace("[", r"\[")):
        with_overrides(TrainConfig(), {name: value})


def test_a_whole_number_will_do_for_a_real_one_and_none_where_it_has_a_meaning():
    config = with_overrides(TrainConfig(), {"tau": 0, "per_class_from": None, "noise_options": {"include_true": False}})
    assert config.settings.tau == 0 and config.settings.per_class_from is None


@pytest.mark.parametrize("noise", ["human:worst", "file:labels.npy", "given"])
def test_noise_that_comes_from_a_file_has_no_nominal_rate(noise):
    config = TrainConfig(noise=noise, rate=0.4).resolved()
    assert config.rate is None and TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig(noise=noise).resolved() == config


def test_only_clothing1m_draws_balanced_epochs_unless_asked():
    assert TrainConfig(dataset="clothing1m").resolved().balanced_images == 32_000
    assert TrainConfig(dataset="cifar10").resolved().balanced_images == 0
    assert TrainConfig(dataset="clothing1m", balanced_images=0).resolved().balanced_images == 0


def test_noise_in_words_is_a_part_of_a_file_name():
    assert TrainConfig(noise="symmetric", rate=0.5).noise_words() == "symmetric_0.5"
    assert TrainConfig(noise="human:worst").resolved().noise_words() == "human-worst"
