"""How time and memory of an audit grow with the number of rows.

    python -m benchmark.audit_scale           # 62,500 to a million rows of 512 numbers; writes results/audit/scale.json

The rows are made: ten classes, each a round cloud around a mean of its own, and a fifth of the labels drawn anew. Each
size runs in a process of its own, so that the peak memory is its own too.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from sklearn.metrics import roc_auc_score

from nlcore.audit.classifier import NoisyLabelClassifier
from nlcore.basics.files import save_file
from nlcore.basics.machine import environment, peak_memory_mb

SIZES = (62_500, 250_000, 1_000_000)
DIM, CLASSES, REDRAWN, SPREAD = 512, 10, 0.2, 0.15
OUT = Path(__file__).parents[1] / "results" / "audit" / "scale.json"
CPU = torch.device("cpu")


def made_rows(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, DIM) float32 vectors, their true classes and their given labels."""
    generator = np.random.default_rng(0)
    true = generator.integers(CLASSES, size=n)
    means = SPREAD * generator.standard_normal((CLASSES, DIM), dtype=np.float32)
    vectors = generator.standard_normal((n, DIM), dtype=np.float32)
    for number in range(CLASSES):
        vectors[true == number] += means[number]
    redrawn = generator.random(n) < REDRAWN
    return vectors, true, np.where(redrawn, generator.integers(CLASSES, size=n), true)


def measure(n: int) -> dict[str, float]:
    """Seconds, peak memory of the process and the audit's AUROC, in per cent, on n rows."""
    vectors, true, given = made_rows(n)
    inputs = peak_memory_mb(CPU) or 0.0
    started = time.perf_counter()
    model = NoisyLabelClassifier().fit(vectors, given)
    seconds = time.perf_counter() - started
    auroc = 100 * roc_auc_score(given != true, -model.label_issues_["label_quality"])
    memory = {"peak_memory_mb": peak_memory_mb(CPU) or 0.0, "before_mb": inputs}
    return {"rows": n, "seconds": seconds, "auroc": auroc} | memory


def main(
    size: Annotated[int | None, typer.Option(help="Print this size only, as JSON.")] = None, out: Path = OUT
) -> None:
    """Print seconds, microseconds a row and memory of each size; and store them."""
    if size:
        print(json.dumps(measure(size)))
        return
    rows = []
    for n in SIZES:
        command = [sys.executable, "-m", "benchmark.audit_scale", "--size", str(n)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout)
        rows.append(row)
        each, memory = 1e6 * row["seconds"] / n, row["peak_memory_mb"]
        print(f"{n:9,d} rows {row['seconds']:8.1f} s {each:6.0f} us each {memory:7.0f} MB AUROC {row['auroc']:.1f}")
    values = {"environment": environment(CPU), "dim": DIM, "classes": CLASSES, "redrawn": REDRAWN, "rows": rows}
    save_file(out, json.dumps(values, indent=1) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
