"""The rows of the reproduction ledger: every one is there, runs, is stored, and reads the arena's results."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmark.claims import tssd
from benchmark.claims.__main__ import main
from benchmark.claims.frame import ROWS, Claim, claims, run_seed, stored_row
from benchmark.claims.lab import GLYPHS, NOISES, RESULTS, Lab, arena_cells
from nlcore import InputError
from nlcore.study.ledger import DECIDED, VERDICTS, verdict

torch.set_num_threads(1)
IDS = [
    *(f"T{n}" for n in range(1, 12)),
    *(f"W{n}" for n in range(1, 8)),
    *(f"A{n}" for n in range(1, 11)),
    *(f"Q{n}" for n in range(1, 6)),
]
STORED = RESULTS / "claims"


@pytest.fixture(scope="module")
def toy():
    """A laboratory in which every run is one of 300 digits and four epochs, and no result is stored."""
    return Lab(
        RESULTS / "nothing here", dataset="digits", subset=300, network=None, epochs=4, warmup_epochs=2, device="cpu"
    )


# -- the table


def test_every_row_is_there_once():
    names = re.findall(r"^(\w+):$", ROWS.read_text(encoding="utf-8"), re.M)
    assert sorted(names) == sorted(IDS) and list(claims()) == names


def test_every_row_is_complete():
    for claim in claims().values():
        assert claim.paper in ("tssd", "anchor")
        assert all((claim.claim, claim.short, claim.protocol, claim.scale, claim.limits, claim.tests))
        assert claim.run is not None or claim.unavailable


def test_every_stored_row_belongs_to_a_claim_and_says_what_the_table_says():
    table = claims()
    assert {path.stem for path in STORED.glob("*.json")} == set(table)
    for claim in table.values():
        row = json.loads((STORED / f"{claim.id}.json").read_text(encoding="utf-8"))
        assert {name: row[name] for name in claim.texts()} == claim.texts(), claim.id
        assert verdict(row) in VERDICTS


def test_every_test_of_a_stored_row_finds_its_numbers():
    for claim in claims().values():
        row = stored_row(claim, STORED)
        names = {name for seeds in row["values"].values() for numbers in seeds.values() for name in numbers}
        if names:
            asked = {name for pair in claim.tests.values() for name in pair if isinstance(name, str)}
            assert asked <= names, claim.id


# -- running and storing


def test_a_claim_from_its_experiment_to_its_verdict(toy, tmp_path):
    for seed in (0, 1, 2):
        row = run_seed(claims()["A3"], toy, seed, tmp_path)
    stored = json.loads((tmp_path / "A3.json").read_text(encoding="utf-8"))
    assert stored == row and list(stored["runs"]) == ["0", "1", "2"]
    assert stored["configurations"] and stored["environment"]["code"]
    assert stored["command"] == "python -m benchmark.claims A3 --seeds 0 1 2"
    assert verdict(stored) in DECIDED


@pytest.mark.parametrize("name", ["T4", "T7", "A9", "Q1", "Q2", "W4", "W5"])
def test_an_experiment_gives_the_numbers_that_its_tests_ask_for(name, toy):
    claim = claims()[name]
    found = claim.run(toy, 0)
    names = {name for numbers in found.values() for name in numbers}
    assert {name for pair in claim.tests.values() for name in pair if isinstance(name, str)} <= names
    assert found == claim.run(toy, 0)  # whatever ran before


def made_claim(run) -> Claim:
    return Claim("T1", "tssd", "claim", "short", "protocol", {"a": ("x", 0)}, "scale", "limits", run)


def test_a_seed_that_runs_again_replaces_its_numbers(toy, tmp_path):
    run_seed(made_claim(lambda lab, seed: {"old": {"x": 1.0}, "both": {"x": 1.0}}), toy, 0, tmp_path)
    row = run_seed(made_claim(lambda lab, seed: {"both": {"x": math.nan, "y": 2.123456}}), toy, 0, tmp_path)
    assert row["values"] == {"both": {"0": {"x": None, "y": 2.1235}}}
    row = run_seed(made_claim(lambda lab, seed: {"both": {"x": 3.0}}), toy, 1, tmp_path)
    assert list(row["values"]["both"]) == ["0", "1"]


def test_a_run_is_made_once_and_named_every_time(toy):
    config = replace(GLYPHS, seed=0, **NOISES["idn_xia"])
    first = toy.warm(config)
    toy.used.clear()
    assert toy.warm(config) is first and len(first.predictions) == 2
    assert toy.used[0]["run"] == "warm-up" and toy.used[0]["noise"] == "idn_xia"
    assert toy.warm(replace(config, seed=1)) is not first


def test_a_run_keeps_the_first_epoch_that_corrects_and_the_last(toy):
    given = torch.tensor([0, 1])
    targets = [None, given, torch.tensor([0, 0]), torch.tensor([1, 1]), given]  # the first is of the warm-up

    def trainer(config, on_epoch):
        for target in targets:
            division = None if target is None else SimpleNamespace(target=target)
            on_epoch(SimpleNamespace(division=division, state=SimpleNamespace(given_labels=given)))
        return "result"

    run = toy.train(GLYPHS, "made training", trainer)
    assert run.result == "result" and run.correcting.division.target is targets[2]
    assert run.last.division.target is targets[4]
    targets[2:] = []
    assert toy.train(GLYPHS, "without corrections", trainer).correcting is None


def test_the_command_refuses_an_unknown_row_and_lists_without_writing(tmp_path, capsys):
    with pytest.raises(InputError, match="unknown row 'T99'"):
        main(["T99", "--out", str(tmp_path)])
    main(["--list", "--out", str(tmp_path)])
    assert len(capsys.readouterr().out.splitlines()) == len(IDS)
    assert not list(tmp_path.iterdir())


def test_a_row_without_numbers_is_stored_and_open(tmp_path):
    main(["T1", "--seeds", "7", "--out", str(tmp_path)])  # no cell of the arena has this seed
    row = json.loads((tmp_path / "T1.json").read_text(encoding="utf-8"))
    assert row["values"] == row["runs"] == {} and verdict(row) == "not available"
    assert verdict(row | {"unavailable": ""}) == "open"


@pytest.fixture
def arena(tmp_path):
    """A folder of results: accuracies of three methods with seed 0, in cells whose numbers differ by one."""
    (tmp_path / "arena").mkdir()
    lasts = {"ce": 50, "dividemix": 60, "anchor": 70}
    for name, config in arena_cells().items():
        if config.seed == 0 and config.method in lasts:
            last = lasts[config.method] + (config.noise == "human:worst")
            (tmp_path / "arena" / f"{name}.json").write_text(json.dumps({"last": last, "best": 99}))
    other = "glyphs_symmetric_0.2_anchor_tuned_30epochs_seed0_00000000.json"  # of another configuration
    (tmp_path / "arena" / other).write_text('{"last": 1}')
    return Lab(tmp_path)


def test_a_stored_cell_of_the_arena_is_read_by_its_configuration(arena):
    found = claims()["A1"].run(arena, 0)
    assert len(found) == 5 + 9 + 7
    assert found["glyphs, symmetric 20 %"] == {"ce": 50, "dividemix": 60, "anchor": 70}
    assert found["CIFAR-10 features, people, worst"] == {"ce": 51, "dividemix": 61, "anchor": 71}
    assert "CIFAR-100 features, CAL's file, 40 %" in found
    assert arena.used == [{"stored": "arena", "methods": ["anchor", "ce", "dividemix", "tscsi"]}]
    assert claims()["Q5"].run(arena, 0)["glyphs, idn_xia 40 %"] == {"ce": 50, "anchor": 70}
    assert claims()["A1"].run(arena, 1) == {} and claims()["T1"].run(arena, 0) == {}


def test_gains_and_labels_of_people_are_taken_from_the_same_cells(monkeypatch):
    cells = {
        "glyphs, symmetric 20 %": {"tssd": 80.0, "dividemix": 79.0},
        "glyphs, symmetric 50 %": {"tssd": 70.0, "dividemix": 67.0},
        "glyphs, asymmetric 40 %": {"tssd": 60.0, "dividemix": 1.0},
        "CIFAR-10 features, people, worst": {"tssd": 50.0, "ce": 40.0},
        "CIFAR-10 features, symmetric 20 %": {"dividemix": 10.0},
    }
    lab = SimpleNamespace(arena=lambda seed, methods: cells)
    assert list(tssd.t2(lab, 0)) == ["glyphs, symmetric"]
    row = tssd.t2(lab, 0)["glyphs, symmetric"]
    assert (row["gain at 20 %"], row["gain at 50 %"], row["tssd at 50 %"]) == (1, 3, 70)
    assert tssd.t11(lab, 0) == {"CIFAR-10 features, people, worst": {"tssd": 50.0, "ce": 40.0}}
