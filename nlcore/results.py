"""What a run leaves behind: `result.json`, `samples.csv`, and the reader that turns many of them into a table."""

import json
import logging
from pathlib import Path
from typing import Any

from nlcore.training.result import STATISTICS

log = logging.getLogger(__name__)


def read_results(folder: str | Path):
    """Every `*.json` result below a folder as one row of a pandas DataFrame; hidden folders are left out.

    Columns: dataset, subset, noise, rate, realised_rate, method, preset, networks, budget, network, seed, images (that
    were trained on), epochs, holdout, best, last, last10, fair, wall_seconds, peak_memory_mb, device, code, path. A
    file that is not a result is logged, by name, and left out.
    """
    import pandas as pd

    rows = []
    for path in sorted(Path(folder).rglob("*.json")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            rows.append(_row(json.loads(path.read_text(encoding="utf-8"))) | {"path": str(path)})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is not a result file and is left out (%s: %s)", path, type(error).__name__, error)
    return pd.DataFrame(rows)


def _row(values: dict[str, Any]) -> dict[str, Any]:
    config, environment = values["config"], values["environment"]
    names = ("dataset", "subset", "noise", "rate", "method", "preset", "networks", "budget", "network", "seed")
    row = {name: config[name] for name in names}
    row["realised_rate"] = values["noise"]["realised_rate"]
    row |= {name: config[name] for name in ("epochs", "holdout")}
    row |= {name: values[name] for name in ("images", *STATISTICS, "wall_seconds", "peak_memory_mb")}
    return row | {"device": environment["device"], "code": environment["code"]}
