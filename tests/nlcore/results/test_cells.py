from dataclasses import replace

import pytest

from nlcore import InputError, TrainConfig
from nlcore.results.cells import cell_name, noise_title, parse_noise


def test_name_says_what_the_run_is():
    plain = TrainConfig(noise="idn_xia", rate=0.35, method="anchor", preset="paper", seed=3)
    assert cell_name(plain) == "digits_idn_xia_0.35_anchor_paper_30epochs_seed3"
    assert cell_name(replace(plain, subset=300)).startswith("digits_n300_idn_xia_")


def test_name_tells_other_settings_apart():
    plain = TrainConfig()
    names = {cell_name(replace(plain, **change)) for change in ({}, {"batch_size": 16}, {"batch_size": 8})}
    assert len(names) == 3
    assert cell_name(plain) == cell_name(plain.resolved())


def test_name_tells_two_networks_and_the_papers_budget():
    big = TrainConfig(dataset="cifar10", rate=0.5, method="tssd", networks=2, budget="short")
    assert cell_name(big) == "cifar10_symmetric_0.5_tssd_tuned_2networks_short_60epochs_seed0"


def test_name_is_that_of_a_file_whatever_the_noise():
    human = TrainConfig(dataset="cifar10", noise="human:worst", method="ce")
    assert cell_name(human) == "cifar10_human-worst_ce_tuned_60epochs_seed0"
    files = [cell_name(TrainConfig(noise=f"file:{name}")) for name in ("a/b.pt", "a-b.pt")]
    assert files[0] != files[1] and not set("/:") & set("".join(files))


def test_noise_is_parsed():
    assert parse_noise("idn_xia:0.4") == ("idn_xia", 0.4)
    assert parse_noise("human:worst") == ("human:worst", None)
    assert parse_noise("file:a/b:c.pt") == ("file:a/b:c.pt", None)


@pytest.mark.parametrize(
    "text", ["symmetric", "symmetric:", "symmetric:much", "nonsense:0.4", "human", "file:", "0.4", ""]
)
def test_bad_noise_is_named(text):
    with pytest.raises(InputError, match="noise"):
        parse_noise(text)


def test_title_of_a_noise():
    assert noise_title(*parse_noise("symmetric:0.5")) == "symmetric 50 %"
    assert noise_title(*parse_noise("human:worst")) == "human:worst"
