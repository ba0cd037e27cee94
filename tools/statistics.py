"""How long the notebooks take: ``python -m tools.statistics`` lists the executed copies.

With ``--store`` their times are kept in ``book/run_times.json``, from which every page of the book says what its
notebook takes at the profiles that were not built. A copy with other parameters than its profile's is left out, and so
is one that read runs which an earlier execution had kept: its time is not what the notebook takes.
"""

import json
from pathlib import Path
from typing import Any

import click
import yaml

from nlcore.basics.progress import duration
from tools.stamp import read_notebook

ROOT = Path(__file__).resolve().parents[1]


def times_file(root: Path) -> Path:
    """Where stored times are: profile → notebook → seconds, memory_mb, device, code."""
    return root / "book" / "run_times.json"


def stored_times(root: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The content of `times_file`; empty where there is none."""
    path = times_file(root)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def run_record(copy: Path) -> dict[str, Any] | None:
    """What `tools.execute` wrote into an executed copy; None for a copy that is missing, incomplete or not its work."""
    record = read_notebook(copy).metadata.get("nlcore", {}) if copy.is_file() else {}
    return record if record.get("status") == "complete" and "device" in record else None


def own_seconds(name: str, record: dict[str, Any], times: dict) -> float | None:
    """What a notebook takes that trains all it shows: its own time, or the stored one if it reused kept runs.

    None where that was never measured.
    """
    if not record.get("reused"):
        return record["wall_seconds"]
    return times.get(record["profile"], {}).get(name, {}).get("seconds")


def merge(times: dict, records: dict[str, dict], profiles: dict[str, dict]) -> dict:
    """Stored times with those of new records; in the order of the profiles, without notebooks that are gone."""
    merged = {profile: dict(times.get(profile, {})) for profile in profiles}
    for name, record in records.items():
        entry = profiles.get(record["profile"], {}).get(name)
        measured = entry is not None and not record.get("reused")
        if measured and record["parameters"] == (entry["parameters"] or {}):
            merged[record["profile"]][name] = {
                "seconds": round(record["wall_seconds"], 1),
                "memory_mb": record["peak_memory_mb"],
                "device": record["device"],
                "code": record["code"],
            }
    return {
        profile: {name: merged[profile][name] for name in entries if name in merged[profile]}
        for profile, entries in profiles.items()
    }


def memory(megabytes: float | None) -> str:
    """A size in words, `610 MB` or `1.2 GB`; some systems do not tell it."""
    if megabytes is None:
        return "unknown"
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


@click.command()
@click.option("--store", is_flag=True, help="Keep the times in book/run_times.json.")
@click.option("--executed", type=click.Path(path_type=Path), help="Default: _build/executed/notebooks.")
def main(store: bool, executed: Path | None) -> None:
    """List time, memory, profile and device of the executed notebooks."""
    folder = (executed or ROOT / "_build" / "executed" / "notebooks").expanduser()
    found = {copy.stem: run_record(copy) for copy in sorted(folder.glob("[!.]*.ipynb"))}
    records = {name: record for name, record in found.items() if record}
    for name, record in records.items():
        time = duration(record["wall_seconds"]) + (" with kept runs" if record.get("reused") else "")
        words = time, memory(record["peak_memory_mb"]), record["profile"], record["device"]
        click.echo("  ".join([name, *words]))
    if store:
        profiles = yaml.safe_load((ROOT / "notebooks" / "profiles.yml").read_text(encoding="utf-8"))
        times = merge(stored_times(ROOT), records, profiles)
        times_file(ROOT).write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
