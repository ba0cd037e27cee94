"""Cells that are not finished: what they have shown so far, and whether there is time to begin another one.

A cell that stops leaves its history beside the results, in `NAME.partial.json`: where checkpoints are lost with the
machine, it still says how far the cell came and how long an epoch took.
"""

import functools
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nlcore.basics.files import save_file
from nlcore.training.config import TrainConfig
from nlcore.training.result import without_nan

PARTIAL = ".partial.json"
WRITE_EVERY = 10.0  # seconds between two writings of a history that grows

# What decides how long an epoch takes. Two runs that agree in these are of one kind.
KIND = ("dataset", "data_options", "subset", "balanced_images", "method", "preset", "networks", "network")
KIND += ("batch_size", "precision", "compile", "device", "threads")


class History:
    """The rows of a cell so far, also those of earlier calls, in its file."""

    def __init__(self, path: Path, config: TrainConfig):
        self.path, self.config = path, config.resolved().to_dict()
        stored = _read(path)
        same = stored.get("config") == json.loads(json.dumps(self.config))
        self.rows: list[dict[str, Any]] = stored["history"] if same else []
        self._written = -float("inf")

    def add(self, row: dict[str, Any]) -> None:
        """Add an epoch; one that is trained again takes the place of the earlier one and of those that followed."""
        self.rows = [old for old in self.rows if old["epoch"] < row["epoch"]] + [row]
        if time.monotonic() - self._written >= WRITE_EVERY:
            self.write()

    def write(self) -> None:
        """Write the file, if there is an epoch to tell of."""
        if self.rows:
            values = without_nan({"config": self.config, "history": self.rows})
            save_file(self.path, json.dumps(values, indent=1, allow_nan=False) + "\n")
            self._written = time.monotonic()

    def forget(self) -> None:
        """Remove the file: the result is there."""
        self.path.unlink(missing_ok=True)


class Pace(NamedTuple):
    """What a stored run says about others of its kind: seconds of a warm-up epoch, of a later one, and of the rest."""

    kind: str
    warmup: float | None
    later: float | None
    rest: float


def expected_seconds(config: TrainConfig, folder: Path) -> float | None:
    """About how long a run takes: as long as the slowest one of its kind in the folder, epoch for epoch.

    None if there is none that has come far enough. Runs that shared the machine with others took longer for it, and so
    will this one: hence the slowest.
    """
    config = config.resolved()
    kind, epochs = _kind(config.to_dict()), {"warmup": config.warmup_epochs}
    epochs["later"] = config.epochs - config.warmup_epochs
    found = []
    for path in folder.glob("[!.]*.json"):
        try:
            pace = _pace(path, path.stat().st_mtime_ns)
        except FileNotFoundError:  # a cell that has just ended takes its partial history away
            continue
        if pace is None or pace.kind != kind or any(n and getattr(pace, part) is None for part, n in epochs.items()):
            continue
        found.append(pace.rest + sum(n * (getattr(pace, part) or 0.0) for part, n in epochs.items()))
    return max(found, default=None)


def in_order(
    names: Iterable[str], expected: Mapping[str, float | None], begun: set[str], places: int, seconds: float
) -> list[str]:
    """The order in which to begin cells when there are so many seconds and places.

    First those that have a checkpoint. Then as many, in their order, as fit into the time, the longest of them first:
    begun last it would keep the other places empty. Then the others, and at the very end those that fit into no such
    time at all. A cell that nobody has measured is expected to be as long as the mean.
    """
    names = list(names)
    known = [expected[name] for name in names if expected[name] is not None]
    usual = sum(known) / len(known) if known else 0.0
    length = {name: usual if expected[name] is None else expected[name] for name in names}
    first = [name for name in names if name in begun]
    never = [name for name in names if name not in begun and length[name] > seconds]
    now, room = [], places * seconds - sum(length[name] for name in first)
    for name in names:
        if name not in begun and name not in never and length[name] <= room:
            now.append(name)
            room -= length[name]
    later = [name for name in names if name not in {*first, *never, *now}]
    return [*first, *sorted(now, key=lambda name: -length[name]), *later, *never]


def _kind(config: Mapping[str, Any]) -> str:
    return json.dumps([config.get(name) for name in KIND], sort_keys=True)


@functools.lru_cache(maxsize=4096)
def _pace(path: Path, changed: int) -> Pace | None:
    """The pace of a result or of a partial history; None of any other file. `changed` tells a file's versions apart."""
    values = _read(path)
    try:
        rows = values["history"]
        seconds = {True: [], False: []}
        for row in rows:
            seconds[row["phase"] == "warmup"].append(row["seconds"])
        rest = max(0.0, values["wall_seconds"] - sum(map(sum, seconds.values()))) if "wall_seconds" in values else 0.0
        warmup, later = (sum(part) / len(part) if part else None for part in (seconds[True], seconds[False]))
        return Pace(_kind(values["config"]), warmup, later, rest)
    except (KeyError, TypeError, AttributeError):
        return None


def _read(path: Path) -> dict[str, Any]:
    """What a file of JSON holds; {} if it is missing or damaged, or holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values if isinstance(values, dict) else {}
    except (OSError, ValueError):
        return {}
