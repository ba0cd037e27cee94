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
from pathlib import Path
from typing import Any

import click
import nbformat
import papermill
import yaml
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from tools.stamp import read_notebook, stamp

ROOT = Path(__file__).resolve().parents[1]


class ExecutionFailed(Exception):
    """A notebook did not run to its end; the message says where and why in one line."""


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


def peak_memory_mb(pid: int) -> float | None:
    """The largest resident memory of a live process so far, where the system tells (Linux)."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return round(int(found[1]) / 1024, 1) if found else None


def execute(notebook: Path, copy: Path, parameters: dict[str, Any], timeout: float) -> float | None:
    """Run ``notebook`` into ``copy``, in its own folder; return its peak memory or raise `ExecutionFailed`.

    Papermill's own limit is one per cell. Here a timer kills the kernel's whole process group after ``timeout``
    seconds, which also ends a cell that never returns to Python.
    """
    kernel = AsyncKernelManager(kernel_name="python3")
    # A backend chosen for scripts (CI often sets Agg) would leave the pages without figures.
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    # One thread, unless the caller says otherwise: sums then have the same order, and the page the same numbers, on any
    # number of cores; and threads that wait for each other can make these small networks ten times slower.
    environment.setdefault("OMP_NUM_THREADS", "1")
    # No history file to lock, and no warning that the connection, which stays on this machine, is not encrypted.
    arguments = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]
    run_sync(kernel.start_kernel)(cwd=str(notebook.parent), env=environment, extra_arguments=arguments)
    overran = threading.Event()

    def stop() -> None:
        overran.set()
        os.killpg(kernel.provisioner.pgid, signal.SIGKILL)

    timer = threading.Timer(timeout, stop)
    timer.daemon = True
    timer.start()
    try:
        papermill.execute_notebook(
            str(notebook), str(copy), parameters, kernel_name="python3", progress_bar=False, km=kernel
        )
        return peak_memory_mb(kernel.provisioner.pid)
    except PapermillExecutionError as error:
        last_line = f"{error.ename}: {error.evalue}".strip().splitlines()[-1]
        raise ExecutionFailed(f"cell In [{error.exec_count}]: {last_line}") from None
    except (DeadKernelError, RuntimeError) as error:  # a kernel that dies while starting is a RuntimeError
        reason = f"stopped at its time limit of {timeout:g} s" if overran.is_set() else f"the kernel died: {error}"
        raise ExecutionFailed(reason) from None
    finally:
        timer.cancel()
        run_sync(kernel.shutdown_kernel)(now=True)


def bring_up_to_date(notebook: Path, copy: Path, profile: str, parameters: dict[str, Any], timeout: float) -> str:
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
        record["peak_memory_mb"] = execute(notebook, partial, parameters, timeout)
        record["status"] = "complete"
    except ExecutionFailed as failure:
        record["error"] = str(failure)
        raise
    finally:
        record["wall_seconds"] = round(time.perf_counter() - start, 2)
        document = read_notebook(partial if partial.is_file() else notebook)
        document.metadata["nlcore"] = record
        nbformat.write(document, partial)
        partial.replace(copy)
    return f"{record['wall_seconds']:.0f} s"


# --- command line ----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("names", nargs=-1, metavar="[NOTEBOOK]...")
@click.option("--profile", default="standard", show_default=True, help="A profile of notebooks/profiles.yml.")
@click.option("-p", "--parameter", "overrides", nargs=2, multiple=True, metavar="KEY VALUE", help="Set a parameter.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Default: _build/executed/notebooks.")
def main(names: tuple[str, ...], profile: str, overrides: tuple[tuple[str, str], ...], output_dir: Path | None) -> None:
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
    for name in names:
        copy = folder / f"{name}.ipynb"
        try:
            outcome = bring_up_to_date(notebooks[name], copy, profile, parameters[name], entries[name]["timeout"])
        except ExecutionFailed as failure:
            raise click.ClickException(f"{name}: {failure}") from None
        click.echo(f"{name}  {profile}  {outcome}")


if __name__ == "__main__":
    main()
