"""Print the tables behind the choices of the `tuned` presets, on 20,000 images of real CIFAR-10.

    python -m tools.division_tables                      # three noise kinds, about 4 minutes on two cores
    python -m tools.division_tables --noise idn_xia --rate 0.4 --seed 1

The small network is warmed up for 8 epochs on noisy labels; then every way of selecting clean samples, mining uncertain
ones and correcting hard ones is applied to the same snapshot. CIFAR-10 is loaded as `nlcore.load_dataset` does.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

import nlcore
from nlcore.comparisons import correction_table, mining_table, selection_table
from nlcore.training import observe, prepare, run

CELLS = (("symmetric", 0.5), ("idn_xia", 0.4), ("asymmetric", 0.4))


def main(
    noise: Annotated[str | None, typer.Option(help="One noise kind instead of all three.")] = None,
    rate: Annotated[float, typer.Option(help="Its rate.")] = 0.4,
    seed: int = 0,
    dataset: str = "cifar10",
    subset: int = 20_000,
    warmup_epochs: int = 8,
    out: Annotated[Path | None, typer.Option(help="Also write the tables into this JSON file.")] = None,
) -> None:
    """Print selection, mining and correction tables."""
    tables = []
    for kind, level in [(noise, rate)] if noise else CELLS:
        config = nlcore.TrainConfig(dataset=dataset, subset=subset, noise=kind, rate=level, seed=seed, epochs=60)
        config = replace(config, warmup_epochs=warmup_epochs)
        data, noisy = prepare(config)
        for epoch in run(config, data, noisy):
            if epoch.state.epoch + 1 == warmup_epochs:
                break
        state = epoch.state
        snapshot = observe(state)
        given, true, classify = state.given_labels, state.true_labels, state.teacher.classify
        print(
            f"\n{noisy.identity}: {noisy.rate:.1%} wrong, test accuracy {epoch.row['test_accuracy']:.1f} % after
            warm-up"
        )
        for title, table in (
            ("selection of clean labels", selection_table(snapshot, given, true, state.generator)),
            ("mining among the uncertain", mining_table(snapshot, given, true, state.generator)),
            ("labels of the hard samples", correction_table(snapshot, given, true, classify, state.generator)),
        ):
            print(f"\n{title}\n{table.to_string(float_format=lambda x: f'{x:.3f}')}")
            tables.append({"noise": noisy.identity, "table": title, "rows": table.reset_index().to_dict("records")})
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"tables": tables}, indent=1))


if __name__ == "__main__":
    typer.run(main)
