"""Print how time and memory of the division and of the anchor search grow with the number of samples.

    python -m tools.scaling                    # 10,000 to 200,000 samples, one process each

Each size runs in a process of its own, so that the peak memory is its own too. `extra` is what the step needs on top of
its inputs. Time per sample should stay level, and `extra` grow no faster than the number of samples.
"""

import resource
import subprocess
import sys
import time
from typing import Annotated

import torch
import typer

from nlcore.division import Snapshot
from nlcore.methods import tssd
from nlcore.voting import ballots_from_anchors, ballots_from_hard

SIZES = (10_000, 25_000, 50_000, 100_000, 200_000)
DIM, CLASSES, ANCHORS = 512, 10, 20_000


def made_snapshot(n: int) -> tuple[Snapshot, torch.Tensor]:
    """Random features around class means, with 40 % of the labels redrawn."""
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(CLASSES, (n,), generator=generator)
    wrong = torch.rand(n, generator=generator) < 0.4
    given = torch.where(wrong, torch.randint(CLASSES, (n,), generator=generator), true)
    means = torch.rand(CLASSES, DIM, generator=generator)
    features = torch.rand(n, DIM, generator=generator).add_(means[true])
    logits = (features @ (means - means.mean(0)).T) / 4
    return Snapshot(logits, features, torch.nn.functional.cross_entropy(logits, given, reduction="none")), given


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(n: int) -> None:
    """Print one row: seconds and extra memory of the division (both streams), then of the two anchor searches."""
    config = tssd.PRESETS["tuned"]
    tssd.psd(*made_snapshot(2_000), config)  # first calls load libraries
    snapshot, given = made_snapshot(n)
    before, started = peak_mb(), time.perf_counter()
    tssd.psd(snapshot, given, config)
    seconds, extra = time.perf_counter() - started, peak_mb() - before

    unit = torch.nn.functional.normalize(snapshot.features, dim=1)
    anchors = unit[torch.randint(n, (ANCHORS,), generator=torch.Generator().manual_seed(1))]
    row = f"{n:9,d} {seconds:10.2f} {1e6 * seconds / n:8.1f} {extra:9.0f}"
    for search in (ballots_from_hard, ballots_from_anchors):
        before, started = peak_mb(), time.perf_counter()
        search(unit, anchors, 0.5, 10)
        seconds, extra = time.perf_counter() - started, peak_mb() - before
        row += f" {seconds:10.2f} {1e6 * seconds / n:8.1f} {extra:9.0f}"
    print(row, flush=True)


def main(size: Annotated[int | None, typer.Option(help="Measure this size only, without the heading.")] = None) -> None:
    """Print a table: seconds, microseconds a sample, extra MB."""
    if size:
        return measure(size)
    print(f"d = {DIM}, C = {CLASSES}; the searches compare every sample with {ANCHORS:,} anchors")
    for heading in ("division", "hard -> anchors", "anchors -> hard"):
        print(f"{heading:>{40 if heading == 'division' else 29}}", end="")
    print(f"\n{'samples':>9}" + f" {'s':>10} {'us each':>8} {'extra MB':>9}" * 3, flush=True)
    for n in SIZES:
        subprocess.run([sys.executable, "-m", "tools.scaling", "--size", str(n)], check=True)


if __name__ == "__main__":
    typer.run(main)
