"""How time and memory of the division and of the anchor search grow with the number of samples.

    python -m benchmark.scaling                    # 10,000 to 400,000 samples; prints, and writes results/scaling.json

Each size runs in a process of its own, so that the peak memory is its own too. `extra` is what the step needs on top of
its inputs. Time per sample should stay level, and `extra` grow no faster than the number of samples.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer

from nlcore.basics.files import save_file
from nlcore.basics.machine import environment, peak_memory_mb, reset_peak_memory
from nlcore.methods import tssd
from nlcore.selection.division import Snapshot
from nlcore.selection.voting import ballots_from_anchors, ballots_from_hard

SIZES = (10_000, 25_000, 50_000, 100_000, 200_000, 400_000)
DIM, CLASSES, ANCHORS = 512, 10, 5_000
OUT = Path(__file__).parents[1] / "results" / "scaling.json"
CPU = torch.device("cpu")


def made_snapshot(n: int, classes: int = CLASSES) -> tuple[Snapshot, torch.Tensor]:
    """Random features around class means, with 40 % of the labels redrawn."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(classes, (n,), generator=generator)
    wrong = torch.rand(n, generator=generator) < 0.4
    given = torch.where(wrong, torch.randint(classes, (n,), generator=generator), true)
    means = torch.rand(classes, DIM, generator=generator)
    features = torch.rand(n, DIM, generator=generator).add_(means[true])
    logits = (features @ (means - means.mean(0)).T) / 4
    return Snapshot(logits, features, F.cross_entropy(logits, given, reduction="none")), given


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Seconds and extra MB of one call."""
    reset_peak_memory(CPU)
    before, started = peak_memory_mb(CPU) or 0.0, time.perf_counter()
    work()
    took, extra = time.perf_counter() - started, (peak_memory_mb(CPU) or 0.0) - before
    return {"seconds": took, "extra_mb": max(0.0, extra)}  # the system counts pages only roughly


def measure(n: int) -> dict[str, dict[str, float]]:
    """The division (both streams), then the two anchor searches, of n samples."""
    config = tssd.PRESETS["tuned"]
    tssd.psd(*made_snapshot(2_000), config)  # first calls load libraries
    snapshot, given = made_snapshot(n)
    rows = {"division": measured(lambda: tssd.psd(snapshot, given, config))}
    unit = F.normalize(snapshot.features, dim=1)
    anchors = unit[torch.randint(n, (ANCHORS,), generator=torch.Generator().manual_seed(1))]
    rows["hard -> anchors"] = measured(lambda: ballots_from_hard(unit, anchors, 0.5, 10))
    rows["anchors -> hard"] = measured(lambda: ballots_from_anchors(unit, anchors, 0.5, 10))
    return rows


def main(size: Annotated[int | None, typer.Option(help="Print this size only, as JSON.")] = None) -> None:
    """Print a table: seconds, microseconds a sample, extra MB; and store it."""
    if size:
        print(json.dumps(measure(size)))
        return
    print(f"d = {DIM}, C = {CLASSES}; the searches compare every sample with {ANCHORS:,} anchors")
    print(f"{'samples':>9} {'step':>16} {'s':>10} {'us each':>8} {'extra MB':>9}", flush=True)
    rows = []
    for n in SIZES:
        command = [sys.executable, "-m", "benchmark.scaling", "--size", str(n)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        for step, row in json.loads(done.stdout).items():
            rows.append({"samples": n, "step": step} | row)
            each = 1e6 * row["seconds"] / n
            print(f"{n:9,d} {step:>16} {row['seconds']:10.2f} {each:8.1f} {row['extra_mb']:9.0f}", flush=True)
    values = {"environment": environment(CPU), "dim": DIM, "classes": CLASSES, "anchors": ANCHORS, "rows": rows}
    save_file(OUT, json.dumps(values, indent=1) + "\n")
    print(f"wrote {OUT}")


if __name__ == "__main__":
    typer.run(main)
