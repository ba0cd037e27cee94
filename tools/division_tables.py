"""Print the tables behind the choices of the `tuned` presets, on 20,000 images of real CIFAR-10.

    python -m tools.division_tables                      # three noise kinds, about 4 minutes on two cores
    python -m tools.division_tables --noise idn_xia --rate 0.4 --seed 1 --out results/division

The small network is warmed up for 8 epochs on noisy labels; then every way of selecting clean samples, mining uncertain
ones and correcting hard ones is applied to the same snapshot. CIFAR-10 is loaded as `nlcore.load_dataset` does.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nlcore import InputError, TrainConfig
from nlcore.study.comparisons import first_division_report, kept_division_report, report_table

CELLS = (("symmetric", 0.5), ("idn_xia", 0.4), ("asymmetric", 0.4))
TITLES = {
    "selection": "selection of clean labels",
    "mining": "mining among the uncertain samples",
    "correction": "precision of the labels of the hard samples, by coverage",
}


def main(
    noise: Annotated[str | None, typer.Option(help="One noise kind instead of all three.")] = None,
    rate: Annotated[float, typer.Option(help="Its rate.")] = 0.4,
    seed: int = 0,
    dataset: str = "cifar10",
    subset: int = 20_000,
    warmup_epochs: int = 8,
    out: Annotated[Path | None, typer.Option(help="Keep each report as a JSON file in this folder.")] = None,
) -> None:
    """Print selection, mining and correction tables."""
    for kind, level in [(noise, rate)] if noise else CELLS:
        config = TrainConfig(
            dataset=dataset, subset=subset, noise=kind, rate=level, seed=seed, epochs=60, warmup_epochs=warmup_epochs
        )
        report = kept_division_report(config, out) if out else first_division_report(config)
        wrong, accuracy = report["noise"]["realised_rate"], report["test_accuracy"]
        print(f"\n=== {report['noise']['identity']}: {wrong:.1%} wrong, test accuracy {accuracy:.1f} % after warm-up")
        for name, title in TITLES.items():
            print(f"\n{title}\n{report_table(report, name).to_string(float_format=lambda x: f'{x:.3f}')}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        sys.exit(f"error: {error}")
