"""Store what the scale of the input does to instance-dependent noise, on all of CIFAR-10: `results/noise/*.json`.

    python -m tools.noise_tables            # about a minute on two cores

The noise chapter shows the stored table beside its own, since the digits hardly show the effect.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from nlcore import InputError, load_dataset
from nlcore.comparisons import scaling_table
from nlcore.files import write_atomically
from nlcore.results import environment


def main(
    dataset: str = "cifar10",
    rate: float = 0.4,
    seeds: int = 5,
    out: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = Path("results/noise"),
) -> None:
    """Print and store the table of scalings of `idn_xia` noise."""
    data = load_dataset(dataset)
    table = scaling_table(data, rate, range(seeds))
    print(table.groupby("scaling", sort=False).mean().to_string(float_format=lambda x: f"{x:.3f}"))
    noise = {"kind": "idn_xia", "rate": rate, "images": len(data.train_labels), "dataset": dataset}
    record = {"noise": noise, "table": table.to_dict("records"), "environment": environment(data.train_images.device)}
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / f"scaling_{dataset}_{rate:g}.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        sys.exit(f"error: {error}")
