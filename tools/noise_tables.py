"""Store what every noise does to all of CIFAR-10, for the chapters on noise: `results/noise/*.json`.

    python -m tools.noise_tables            # a quarter of an hour on two cores, most of it two clean-label models

Needs in the data folder, beside CIFAR: CIFAR-10_human.pt and CIFAR-100_human.pt (CIFAR-N), and IDN_0.2_C10.pt,
IDN_0.4_C10.pt and IDN_0.6_C10.pt (CAL). The chapters show the stored numbers beside those of their own digits.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch.nn.functional import adaptive_avg_pool2d

from nlcore import InputError, NoisyLabels, corrupt, load_dataset
from nlcore.basics.files import write_atomically
from nlcore.basics.machine import environment
from nlcore.study.noise_comparisons import (
    confusion_numbers,
    difficulty,
    difficulty_auc,
    hits_by_difficulty,
    scaling_table,
    twin,
    two_sample_auc,
)
from nlcore.training.clean_model import CleanPredictions, clean_predictions

# name in the tables -> kind of noise, options
KINDS = {
    "symmetric": ("symmetric", {}),
    "asymmetric": ("asymmetric", {}),
    "pair flip": ("pairflip", {}),
    "idn_xia, raw": ("idn_xia", {}),
    "idn_xia, normalised": ("idn_xia", {"scaling": "normalised"}),
    "idn_shared, raw": ("idn_shared", {}),
    "idn_shared, normalised": ("idn_shared", {"scaling": "normalised"}),
    "idn_pmd, type I": ("idn_pmd", {"type": "I"}),
    "idn_pmd, type II": ("idn_pmd", {"type": "II"}),
    "idn_pmd, type III": ("idn_pmd", {"type": "III"}),
    "idn_seal": ("idn_seal", {}),
    "CAL's file, 0.2": ("file:IDN_0.2_C10.pt", {}),
    "CAL's file, 0.4": ("file:IDN_0.4_C10.pt", {}),
    "CAL's file, 0.6": ("file:IDN_0.6_C10.pt", {}),
    "human, aggre": ("human:aggre", {}),
    "human, random1": ("human:random1", {}),
    "human, random2": ("human:random2", {}),
    "human, random3": ("human:random3", {}),
    "human, worst": ("human:worst", {}),
}
HUMAN = "human, worst"
JUDGE_SEED, TWIN_SEED = 1000, 1000


def main(
    rate: float = 0.4,
    seeds: Annotated[int, typer.Option(help="Seeds of the table of scalings.")] = 5,
    epochs: Annotated[int, typer.Option(help="Of the clean-label model.")] = 10,
    out: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = Path("results/noise"),
) -> None:
    """Print and store the tables."""
    data = load_dataset("cifar10")
    here = {"environment": environment(data.train_images.device), "images": len(data.train_labels), "rate": rate}
    out = out.expanduser()
    out.mkdir(parents=True, exist_ok=True)

    def store(name: str, values: dict) -> None:
        write_atomically(out / f"{name}.json", json.dumps(here | values, indent=1) + "\n")

    rows = []
    for kind in ("idn_xia", "idn_shared"):
        table = scaling_table(data, kind, rate, range(seeds))
        print(kind, table.groupby("scaling", sort=False).mean(numeric_only=True).round(3), sep="\n")
        rows += [{"kind": kind} | row for row in table.to_dict("records")]
    store("scaling_cifar10", {"table": rows})

    fine, coarse = load_dataset("cifar100"), load_dataset("cifar100_coarse")
    people = [corrupt(data, f"human:{name}", None, 0) for name in ("aggre", "random1", "random2", "random3", "worst")]
    people += [corrupt(fine, "human:fine", None, 0), corrupt(coarse, "human:coarse", None, 0)]
    store("human", {"rates": {noisy.identity: noisy.rate for noisy in people}})

    # A judge of its own: the network that makes idn_pmd and idn_seal would know their images too well.
    judge = clean_predictions(data, JUDGE_SEED, epochs)
    pixels = torch.cat([adaptive_avg_pool2d(part.float(), 8).flatten(1) for part in data.train_images.split(5000)])
    noises = {}
    for name, (kind, options) in KINDS.items():
        trained = {"epochs": epochs} if kind in ("idn_pmd", "idn_seal") else {}
        noises[name] = corrupt(data, kind, rate, 0, **options, **trained)
    kinds = {}
    for name, noisy in noises.items():
        kinds[name] = numbers(noisy, noises[HUMAN], judge, pixels)
        print(name, {key: value for key, value in kinds[name].items() if isinstance(value, float)}, flush=True)
    right = (judge.logits.argmax(1) == data.train_labels).double().mean()
    store("kinds_cifar10", {"kinds": kinds, "clean_model_accuracy": float(right), "class_names": data.class_names})


def numbers(noisy: NoisyLabels, human: NoisyLabels, judge: CleanPredictions, pixels: torch.Tensor) -> dict:
    """Everything that the chapters say of one noise."""
    hardness = difficulty(judge, noisy.true_labels)
    # Not the seed of the noise: with it the twin's draws would be those that chose the noise's samples.
    own_twin = twin(noisy, torch.Generator().manual_seed(TWIN_SEED))

    def auc(other: NoisyLabels, features: torch.Tensor | None) -> float:
        return two_sample_auc(noisy, other, features, torch.Generator().manual_seed(TWIN_SEED + 1))

    return confusion_numbers(noisy) | {
        "identity": noisy.identity,
        "transition_matrix": noisy.transition_matrix.tolist(),
        "hits": hits_by_difficulty(noisy, hardness).tolist(),
        "difficulty_auc": difficulty_auc(noisy, hardness),
        "twin_auc": auc(own_twin, judge.features),
        "twin_auc_pixels": auc(own_twin, pixels),
        "human_auc_labels": auc(human, None) if noisy is not human else None,
        "human_auc": auc(human, judge.features) if noisy is not human else None,
    }


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        sys.exit(f"error: {error}")
