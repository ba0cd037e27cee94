"""What a run leaves behind: `result.json` and `samples.csv`."""

import csv
import hashlib
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlcore.basics.errors import InputError
from nlcore.basics.files import check_writable, save_file, user_path
from nlcore.basics.machine import code_version, environment, peak_memory_mb
from nlcore.noise.labels import NoisyLabels
from nlcore.training.config import TrainConfig
from nlcore.training.origins import changed_origins

STATISTICS = ("best", "last", "last10", "fair")


@dataclass(frozen=True)
class Result:
    """One finished run.

    Attributes
    ----------
    config : resolved.
    noise : identity, nominal and realised rate, and a hash of the given labels.
    network : name, stem and number of parameters, and how many of it there are.
    history : one dict an epoch.
    best, last, last10 : test accuracy in per cent: the best epoch's (chosen on the test set, so optimistic), the last
        epoch's, and the mean of the last ten; None without a test set.
    fair : test accuracy in the epoch that has the highest accuracy on the given labels of the hold-out, the first of
        several; None without a hold-out.
    images : number of images that were trained on.
    samples : one entry a training sample, column by column, as in `samples.csv`.
    wall_seconds, peak_memory_mb, environment : how long it took, how much memory at most, and on what. Memory is that
        of the device on a GPU, else of the whole process; None where the system does not say.
    class_names : K names; labels are their numbers.
    origins : digests of the files that it was made from, see `nlcore.training.origins`.
    """

    config: TrainConfig
    noise: dict[str, Any]
    network: dict[str, Any]
    history: list[dict[str, Any]]
    best: float | None
    last: float | None
    last10: float | None
    fair: float | None
    images: int
    samples: dict[str, list]
    wall_seconds: float
    peak_memory_mb: float | None
    environment: dict[str, str]
    class_names: tuple[str, ...] = ()
    origins: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        state,
        noisy: NoisyLabels,
        history: list[dict],
        samples: dict[str, list],
        seconds: float,
        origins: dict[str, str] | None = None,
    ) -> "Result":
        """Gather a result from a finished run's parts."""
        config, accuracy = state.config, [row["test_accuracy"] for row in history]
        tested = accuracy[-1] is not None
        labels = noisy.given_labels.contiguous().numpy()
        noise = {"kind": config.noise, "rate": config.rate, "realised_rate": noisy.rate, "identity": noisy.identity}
        student = state.learners[0].student
        return cls(
            config=config,
            noise=noise | {"labels_sha256": hashlib.sha256(labels).hexdigest()[:12]},
            network={
                "name": config.network,
                "stem": student.stem,
                "parameters": sum(p.numel() for p in student.parameters()),
                "count": len(state.learners),
            },
            history=history,
            best=max(accuracy) if tested else None,
            last=accuracy[-1],
            last10=sum(accuracy[-10:]) / len(accuracy[-10:]) if tested else None,
            fair=max(history, key=lambda row: row["holdout_accuracy"])["test_accuracy"] if config.holdout else None,
            images=config.balanced_images or len(state.index),
            samples=samples,
            wall_seconds=seconds,
            peak_memory_mb=peak_memory_mb(state.given_labels.device),
            environment=environment(state.given_labels.device, state.precision),
            class_names=state.class_names,
            origins=origins or {},
        )

    def summary(self) -> str:
        """`best 97.2  last 96.9  last10 96.8`, in per cent; with a hold-out also `fair`; `no test set` without one."""
        return summary_line({name: getattr(self, name) for name in STATISTICS})

    def to_dict(self) -> dict[str, Any]:
        """What `result.json` holds: everything but the samples; NaN becomes null."""
        values = {
            "config": self.config.to_dict(),
            "noise": self.noise,
            "network": self.network,
            "best": self.best,
            "last": self.last,
            "last10": self.last10,
            "fair": self.fair,
            "class_names": list(self.class_names),
            "origins": self.origins,
            "images": self.images,
            "division": {key: self.history[-1][key] for key in ("sets", "labelled") if key in self.history[-1]},
            "history": self.history,
            "wall_seconds": self.wall_seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "environment": self.environment,
        }
        return without_nan(values)

    def to_json(self) -> str:
        """The text of `result.json`."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def save(self, folder: str | Path) -> None:
        """Write `samples.csv` and, last, `result.json` into a folder; each appears whole or not at all."""
        folder = user_path(folder)
        check_output_folder(folder, self.config)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(self.samples)
        writer.writerows(zip(*self.samples.values(), strict=True))
        save_file(folder / "samples.csv", table.getvalue())
        save_file(folder / "result.json", self.to_json())


def summary_line(values: dict[str, Any]) -> str:
    """`Result.summary` of the values of a result file."""
    known = {name: values[name] for name in STATISTICS if values[name] is not None}
    words = [f"{name} {'not available' if math.isnan(x) else f'{x:.1f}'}" for name, x in known.items()]
    return "  ".join(words) or "no test set"


def check_output_folder(folder: str | Path, config: TrainConfig) -> None:
    """Find out, before a long run, whether its result can be saved there; nothing is written.

    Raises
    ------
    InputError : it cannot be written, or it already holds the result of another configuration, or of other data or
        labels under the same names, or a damaged one.
    """
    folder = user_path(folder)
    check_writable(folder)
    present = folder / "result.json"
    if not present.exists():
        return
    if _read(present) is None:
        raise InputError(f"{present} is damaged; delete it, and the same command writes it again")
    stored = stored_result(present, config)
    if stored is None:
        raise InputError(f"{folder} already holds another run; choose another folder")
    if changed := changed_origins(stored, config):
        files = ", ".join(changed)
        raise InputError(f"{folder} holds this run of other files (changed: {files}); choose another folder")


def stored_result(path: Path, config: TrainConfig) -> dict[str, Any] | None:
    """The values of a result file if it is of this configuration; None if not, or if it is missing or damaged."""
    wanted, values = json.loads(json.dumps(config.resolved().to_dict())), _read(path)
    # `auto` takes either precision, so a run in either answers it; before there was `auto`, results named theirs.
    either = {"precision": "auto"} if wanted["precision"] == "auto" else {}
    if values is None:
        return None
    stored = {"data_options": {}} | values["config"] | either  # older results know no options of own data
    return values if stored == wanted else None


def _read(path: Path) -> dict[str, Any] | None:
    """The values of a result file; None if it is missing, or damaged, so that it does not even say what it is of."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values if values["config"] | {} else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_current(values: dict[str, Any] | None) -> bool:
    """Whether a stored result was made by the code as it is now."""
    return values is not None and values.get("environment", {}).get("code") == code_version()


def without_nan(value: Any) -> Any:
    """The same nested value with None, which JSON knows, for NaN and infinity."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
