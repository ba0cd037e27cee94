"""Simple label scores in every cell of the arena, beside which the methods' `clean_prob` has to stand.

    python -m benchmark.arena [--out results/arena_scores] [--seeds 0,1,2,3,4]
    python -m benchmark.arena --shorten results/arena results/ablations/glyphs

A cell is a dataset, size, noise and seed of `benchmark/arena.yml`, whatever the method; what is stored is kept. The
second form shortens results before they go into the repository.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from nlcore.basics.files import save_file
from nlcore.basics.machine import cpu_threads, environment
from nlcore.basics.progress import steps
from nlcore.results.grids import read_grid
from nlcore.study.label_scores import label_scores
from nlcore.training.config import TrainConfig
from nlcore.training.report import label_order
from nlcore.training.run import prepare

GRID = Path(__file__).parent / "arena.yml"


def score_cells(grid: Path = GRID) -> dict[str, TrainConfig]:
    """One configuration for every dataset, size, noise and seed of a grid, by the name of its file."""
    cells = {}
    for config in read_grid(grid).values():
        size = [] if config.subset is None else [f"n{config.subset}"]
        name = "_".join([config.dataset, *size, config.noise_words(), f"seed{config.seed}"])
        cells.setdefault(name, config)
    return cells


def measured(config: TrainConfig) -> dict:
    """What is stored of a cell: data, noise, seed, environment, and how well each score orders the labels."""
    with cpu_threads(config.threads):
        dataset, noisy = prepare(config)
        scores = label_scores(dataset, noisy, config.seed)
    kept = ("dataset", "subset", "noise", "rate", "noise_options", "seed")
    orders = {name: label_order(score, noisy.given_labels, noisy.true_labels) for name, score in scores.items()}
    values = {name: value for name, value in asdict(config).items() if name in kept}
    return values | {"scores": orders, "environment": environment(torch.device("cpu"))}


def shorten(path: Path) -> None:
    """Leave of a result's history the last epoch and the accuracies of the others: most of a long file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    *earlier, last = values["history"]
    kept = ("epoch", "test_accuracy", "holdout_accuracy")
    values["history"] = [*({name: row[name] for name in kept if name in row} for row in earlier), last]
    save_file(path, json.dumps(values, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/arena_scores"))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--shorten", type=Path, nargs="+", default=[], help="folders of results")
    asked = parser.parse_args()
    if asked.shorten:
        for folder in asked.shorten:
            for path in sorted(folder.glob("*.json")):
                shorten(path)
        return
    seeds = {int(seed) for seed in asked.seeds.split(",")}
    cells = {name: config for name, config in score_cells().items() if config.seed in seeds}
    with steps(len(cells), "label scores", "cells") as advance:
        for done, (name, config) in enumerate(cells.items(), 1):
            path = asked.out / f"{name}.json"
            if not path.exists():
                save_file(path, json.dumps(measured(config), indent=1) + "\n")
            advance(done)


if __name__ == "__main__":
    main()
