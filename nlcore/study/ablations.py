"""What every difference between the presets buys: `tuned` with one field set back to its value in `paper`.

The list is read off the presets, so it cannot forget a choice. Fields belong to three groups: `training`, the loop
around every method; `ssl`, semi-supervised training; `settings`, the method's own.
"""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from nlcore.basics.machine import environment
from nlcore.methods import METHODS
from nlcore.results.cells import NAMED
from nlcore.results.tables import read_results
from nlcore.study.comparisons import after_warmup
from nlcore.training.config import TrainConfig, with_overrides
from nlcore.training.engine import Epoch
from nlcore.training.observe import observe
from nlcore.training.report import describe_division

GROUPS = ("training", "ssl", "settings")


@dataclass(frozen=True)
class Difference:
    """A field of the configuration, the group that it belongs to, and its values in the two presets."""

    group: str
    field: str
    tuned: Any
    paper: Any


def differences(config: TrainConfig) -> list[Difference]:
    """The fields in which the presets differ, for the method, data and noise of a configuration.

    A field that the configuration sets itself is the same in both, so it is not among them.
    """
    tuned, paper = (replace(config, preset=preset).resolved() for preset in ("tuned", "paper"))
    found = []
    for group, ends in zip(
        GROUPS, ((tuned, paper), (tuned.ssl, paper.ssl), (tuned.settings, paper.settings)), strict=True
    ):
        for name in (field.name for field in fields(ends[0])):
            values = [getattr(end, name) for end in ends]
            if values[0] != values[1] and name not in ("preset", "ssl", "settings"):
                found.append(Difference(group, name, *values))
    return found


def variants(config: TrainConfig) -> dict[str, TrainConfig]:
    """The runs of an ablation: name -> resolved configuration.

    `tuned` and `paper`; under its own name each field set back alone; `all GROUP`, the fields of a group set back
    together; `paper, tuned GROUP`, the same from the other end.
    """
    tuned, paper = (replace(config, preset=preset).resolved() for preset in ("tuned", "paper"))
    found, listed = {"tuned": tuned, "paper": paper}, differences(config)
    for one in listed:
        found[one.field] = with_overrides(tuned, {one.field: one.paper})
    for group in GROUPS:
        members = [one for one in listed if one.group == group]
        if members:
            found[f"all {group}"] = with_overrides(tuned, {one.field: one.paper for one in members})
            found[f"paper, tuned {group}"] = with_overrides(paper, {one.field: one.tuned for one in members})
    return found


def variant_of(config: TrainConfig) -> str | None:
    """The name of a resolved configuration among the `variants` of its method, data and noise; None if it has none."""
    named = {name: getattr(config, name) for name in (*NAMED, "network") if name != "preset"}
    family = variants(TrainConfig(**named, device=config.device))
    return next((name for name, variant in family.items() if variant == config), None)


def read_variants(folder: str | Path):
    """`nlcore.results.tables.read_results`, with a column `variant`: see `variant_of`."""
    runs = read_results(folder)
    stored = (json.loads(Path(path).read_text(encoding="utf-8"))["config"] for path in runs["path"])
    return runs.assign(variant=[variant_of(TrainConfig.from_dict(values)) for values in stored])


def division_ablation(epoch: Epoch, config: TrainConfig, draws: int = 3):
    """What a method's own fields do to its first division, without any training after it. All its parts take part, also
    those that in a run wait for later epochs.

    Parameters
    ----------
    epoch : the end of a warm-up, see `nlcore.study.comparisons.after_warmup`; the true labels have to be known.
    config : names the method; data and noise are those of the epoch.
    draws : divisions of each variant, with generators of their own: hallucinators and meta classifiers are drawn.

    Returns
    -------
    A DataFrame with a row for each variant and draw: `variant`, `draw`; `labelled`, the size of the labelled set, its
    `precision`, `recall` and `F1` as in `describe_division`; `added`, how many samples the method's second step adds
    (mined or corrected), and their precision, `added_right`.
    """
    import pandas as pd

    state, snapshot, method = epoch.state, observe(epoch.state), METHODS[config.method]
    own = {one.field for one in differences(config) if one.group == "settings"} | {"tuned", "all settings"}
    rows = []
    for name, variant in variants(config).items():
        for draw in range(draws if name in own else 0):
            generator = torch.Generator(state.images.device).manual_seed(draw)
            division, report = method.divide(
                snapshot, state.given_labels, state.teacher.classify, variant.settings, {}, generator
            )
            found = describe_division(division, report, method.LABELLED, state, snapshot)
            labelled, added = found["labelled"], found["sets"][method.LABELLED[-1]]
            rows.append(
                {"variant": name, "draw": draw, "labelled": labelled["size"], "precision": labelled["precision"]}
                | {"recall": labelled["recall"], "F1": labelled["f1"]}
                | {"added": added["size"], "added_right": added["precision"]}
            )
    return pd.DataFrame(rows)


def division_report(config: TrainConfig, methods: tuple[str, ...] = ("tssd", "anchor")) -> dict[str, Any]:
    """`division_ablation` of several methods after one warm-up, as plain values for a stored result."""
    epoch, noisy = after_warmup(config)
    tables = {method: division_ablation(epoch, replace(config, method=method)) for method in methods}
    return {
        "config": epoch.state.config.to_dict(),
        "noise": {"identity": noisy.identity, "realised_rate": noisy.rate},
        "test_accuracy": epoch.row["test_accuracy"],
        "tables": {method: json.loads(table.to_json(orient="records")) for method, table in tables.items()},
        "environment": environment(epoch.state.images.device),
    }
