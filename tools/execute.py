"""Execute the notebooks with papermill: ``python -m tools.execute --profile smoke``.

A profile (``notebooks/profiles.yml``) gives every notebook its parameters and a time limit. Executed copies go to
``_build/executed/notebooks``, where the book picks them up; the notebooks themselves are never written to. Each copy
carries a record in ``metadata.nlcore``: what it was made from (``fingerprint``), how, how long it took, and whether it
succeeded. A copy whose fingerprint still holds is not made again.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import nbformat
import papermill
import yaml

from tools.kernel import ExecutionFailed, execute
from tools.stamp import read_notebook, stamp
from tools.statistics import stored_times

ROOT = Path(__file__).resolve().parents[1]
JOBS = min(2, os.cpu_count() or 1)  # a notebook takes about 1 GB


# --- what to run -----------------------------------------------------------------------------------------------------


def load_profile(root: Path, profile: str) -> dict[str, dict[str, Any]]:
    """Notebook name → ``{"timeout": seconds, "parameters": {...}}`` of one profile."""
    profiles = yaml.safe_load((root / "notebooks" / "profiles.yml").read_text())
    if profile not in profiles:
        raise click.ClickException(f"unknown profile {profile!r} (valid: {', '.join(profiles)})")
    return profiles[profile]


def parse_value(text: str) -> Any:
    """The YAML value of a command-line word. YAML 1.1 takes ``1e-3`` for a string; here it is a number."""
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise click.ClickException(f"not a YAML value: {text!r}") from None


def refuse_unknown_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Papermill only warns of a parameter that the notebook does not declare, and so hides a typing error."""
    declared = papermill.inspect_notebook(str(notebook))
    if unknown := sorted(parameters.keys() - declared.keys()):
        raise click.ClickException(
            f"{notebook.stem}: unknown parameter {', '.join(unknown)} (valid: {', '.join(declared) or 'none'})"
        )


# --- whether it has to run -------------------------------------------------------------------------------------------


def is_up_to_date(copy: Path, profile: str, fingerprint: str) -> bool:
    """Whether ``copy`` is a complete execution, of this profile, with this fingerprint."""
    if not copy.is_file():
        return False
    record = read_notebook(copy).metadata.get("nlcore", {})
    found = (record.get("status"), record.get("profile"), record.get("fingerprint"))
    return found == ("complete", profile, fingerprint)


# --- running it ------------------------------------------------------------------------------------------------------


def bring_up_to_date(
    notebook: Path, copy: Path, profile: str, parameters: dict[str, Any], timeout: float, stop: threading.Event
) -> str:
    """Execute ``notebook`` unless ``copy`` still holds; return what to say of it."""
    fingerprint = stamp(ROOT, notebook, parameters)
    if is_up_to_date(copy, profile, fingerprint):
        return "up to date"
    copy.parent.mkdir(parents=True, exist_ok=True)
    # Papermill saves after every cell. Under another name an interrupted run is not mistaken for a copy.
    partial = copy.with_name(f".{copy.name}")
    partial.unlink(missing_ok=True)
    record = {"status": "failed", "profile": profile, "parameters": parameters, "fingerprint": fingerprint}
    start = time.perf_counter()
    try:
        record |= execute(notebook, partial, parameters, timeout, stop)
        record["status"] = "complete"
    except ExecutionFailed as failure:
        record["error"] = str(failure)
        raise
    finally:
        record["wall_seconds"] = round(time.perf_counter() - start, 2)
        record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        document = read_notebook(partial if partial.is_file() else notebook)
        document.metadata["nlcore"] = record
        nbformat.write(document, partial)
        partial.replace(copy)
    return f"{record['wall_seconds']:.0f} s"


def longest_first(names: Iterable[str], profile: str) -> list[str]:
    """The order that leaves no long notebook alone at the end. One that was never timed may be long."""
    seconds = {name: time["seconds"] for name, time in stored_times(ROOT).get(profile, {}).items()}
    return sorted(names, key=lambda name: -seconds.get(name, float("inf")))


def bring_all_up_to_date(tasks: dict[str, tuple], jobs: int, profile: str) -> None:
    """Call `bring_up_to_date` with each notebook's arguments, ``jobs`` at a time, and say how each one ended.

    A thread each is enough: the work is done by the kernels, which are processes of their own. After a failure no
    other notebook is begun; those that run are finished. An interruption, Ctrl-C for example, kills the kernels.
    """
    stop, failed = threading.Event(), threading.Event()
    messages = []

    def attempt(name: str) -> str | None:
        if failed.is_set():
            return None
        try:
            return bring_up_to_date(*tasks[name], stop)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(attempt, name): name for name in longest_first(tasks, profile)}
        try:
            for future in as_completed(futures):
                try:
                    if outcome := future.result():
                        click.echo(f"{futures[future]}  {profile}  {outcome}")
                except ExecutionFailed as failure:
                    messages.append(f"{futures[future]}: {failure}")
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if messages:
        raise click.ClickException("\n".join(messages))


# --- command line ----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("names", nargs=-1, metavar="[NOTEBOOK]...")
@click.option("--profile", default="standard", show_default=True, help="A profile of notebooks/profiles.yml.")
@click.option("-p", "--parameter", "overrides", nargs=2, multiple=True, metavar="KEY VALUE", help="Set a parameter.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Default: _build/executed/notebooks.")
@click.option("--jobs", type=click.IntRange(1), default=JOBS, show_default=True, help="Notebooks at a time.")
def main(
    names: tuple[str, ...],
    profile: str,
    overrides: tuple[tuple[str, str], ...],
    output_dir: Path | None,
    jobs: int,
) -> None:
    """Execute NOTEBOOKs (all of the profile by default) that are not up to date."""
    entries = load_profile(ROOT, profile)
    names = tuple(Path(name).stem for name in names) or tuple(entries)
    if unknown := [name for name in names if name not in entries]:
        raise click.ClickException(f"unknown notebook {', '.join(unknown)} (valid: {', '.join(entries)})")

    changes = {key: parse_value(value) for key, value in overrides}
    parameters = {name: (entries[name].get("parameters") or {}) | changes for name in names}
    notebooks = {name: ROOT / "notebooks" / f"{name}.ipynb" for name in names}
    for name in names:  # all of them before the first one runs
        if not notebooks[name].is_file():
            raise click.ClickException(f"profiles.yml names {name}, but there is no notebooks/{name}.ipynb")
        refuse_unknown_parameters(notebooks[name], parameters[name])

    folder = (output_dir or ROOT / "_build" / "executed" / "notebooks").resolve()
    bring_all_up_to_date(
        {
            name: (notebooks[name], folder / f"{name}.ipynb", profile, parameters[name], entries[name]["timeout"])
            for name in names
        },
        jobs,
        profile,
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, as CI does: no kernel is left behind
    main()
