"""What a claim is, how one is run seed by seed, and how its row is stored."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmark.claims import anchor, failures, questions, tssd
from benchmark.claims.lab import Lab, Numbers
from nlcore.basics.files import save_file
from nlcore.basics.machine import cpu_threads, environment


@dataclass(frozen=True)
class Claim:
    """A row of the ledger: a claim, a question or a warning of a paper, in our words, and what decides it here.

    Attributes
    ----------
    id, paper : e.g. `T4`, of `tssd` or `anchor`. T and A are claims, Q questions, W warnings.
    claim : one sentence; of a question the answer that is put to the test.
    short, protocol : the experiment in a few words, and in full.
    tests : name -> two numbers, or a number and a constant, whose difference should exceed the `margin`.
    scale : of data and network, in a few words.
    limits : what the row does not show.
    run : `run(lab, seed)` gives condition -> name -> number, shares in per cent; None where nothing can be run.
    seeds : those of a run that is not told otherwise.
    margin : in the unit of the numbers.
    unavailable : why the claim cannot be decided here, whatever the numbers; empty if it can.
    """

    id: str
    paper: str
    claim: str
    short: str
    protocol: str
    tests: dict[str, tuple[str, str | float]]
    scale: str
    limits: str
    run: Callable[[Lab, int], Numbers] | None = None
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    margin: float = 0.0
    unavailable: str = ""

    def texts(self) -> dict[str, Any]:
        """What a stored row says besides its numbers; a row is brought up to date when these change."""
        said = {name: value for name, value in vars(self).items() if name not in ("run", "seeds")}
        return json.loads(json.dumps(said))  # tuples become lists, as in the file


ROWS = Path(__file__).with_name("rows.yml")
RUNS = tssd.RUNS | anchor.RUNS | questions.RUNS | failures.RUNS


def claims() -> dict[str, Claim]:
    """Every row of the ledger by its id: its texts from `rows.yml`, its experiment from the modules beside it."""
    rows = yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    return {name: Claim(id=name, run=RUNS.get(name), **_filled(row)) for name, row in rows.items()}


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    """A row's texts on one line each, its tests and seeds as tuples."""
    row = {name: " ".join(value.split()) if isinstance(value, str) else value for name, value in row.items()}
    row["tests"] = {name: tuple(pair) for name, pair in row["tests"].items()}
    return row | ({"seeds": tuple(row["seeds"])} if "seeds" in row else {})


def stored_row(claim: Claim, folder: Path) -> dict[str, Any]:
    """The row of a claim as it is stored, with today's texts; one without numbers if there is none."""
    path = folder / f"{claim.id}.json"
    row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    numbers = {"runs": {}, "values": {}, "configurations": [], "environment": {}}
    return claim.texts() | {name: row.get(name, nothing) for name, nothing in numbers.items()}


def run_seed(claim: Claim, lab: Lab, seed: int, folder: Path) -> dict[str, Any]:
    """Run one seed of a claim, add it to its row and store that; an older run of the seed is replaced."""
    started = time.process_time()
    lab.used.clear()
    # Threads that wait for each other on a busy machine are slower than one, and one adds up in the same order always.
    with cpu_threads(1):
        found = claim.run(lab, seed)
        used = environment(torch.device("cpu"))
    row = stored_row(claim, folder)
    for seeds in row["values"].values():
        seeds.pop(str(seed), None)
    for condition, numbers in found.items():
        row["values"].setdefault(condition, {})[str(seed)] = {name: _plain(x) for name, x in numbers.items()}
    row["values"] = {name: _by_seed(seeds) for name, seeds in row["values"].items() if seeds}
    row["configurations"] += [made for made in lab.used if made not in row["configurations"]]
    row["environment"] = used
    # Runs that several claims share are paid by the first that asks. A seed that finds nothing counts as not run.
    run = {"code": row["environment"]["code"], "cpu_seconds": round(time.process_time() - started, 1)}
    row["runs"].pop(str(seed), None)
    if found:
        row["runs"] = _by_seed(row["runs"] | {str(seed): run})
    store(row, folder)
    return row


def store(row: dict[str, Any], folder: Path) -> None:
    """Write a row, whole or not at all."""
    words = " ".join(row["runs"])
    row["command"] = f"python -m benchmark.claims {row['id']}" + (f" --seeds {words}" if words else "")
    save_file(folder / f"{row['id']}.json", json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _by_seed(entries: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(entries.items(), key=lambda entry: int(entry[0])))  # 10 comes after 9


def _plain(number: float | None) -> float | None:
    if number is None or not math.isfinite(number):
        return None
    return round(float(number), 4)
