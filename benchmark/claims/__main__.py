"""Run the experiments of the reproduction ledger.

    python -m benchmark.claims T4 --seeds 0 1 2 3 4      # these seeds of one row
    python -m benchmark.claims --all                     # whatever is missing; most of an hour of one core
    python -m benchmark.claims T1 T2 T11 A1 Q5 --again   # the rows that read results/arena, in seconds
    python -m benchmark.claims --list                    # the rows as they stand

A row is stored after every seed, in results/claims. Runs that several rows need are made once in a process. Features of
CIFAR-10 are loaded as `nlcore.load_dataset` does.
"""

import argparse
import sys
from pathlib import Path

from benchmark.claims.frame import claims, run_seed, store, stored_row
from benchmark.claims.lab import RESULTS, Lab
from nlcore.basics.errors import InputError, choose
from nlcore.study.ledger import verdict


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for, seed by seed, and print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.claims", description=__doc__.partition("\n")[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="rows, such as T4")
    parser.add_argument("--all", action="store_true", help="all rows")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of each row's own; run even if stored")
    parser.add_argument("--again", action="store_true", help="run seeds that are stored as well")
    parser.add_argument("--list", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=RESULTS / "claims", help="folder of the stored rows")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder in which `arena` holds stored results")
    asked = parser.parse_args(arguments)
    table = claims()
    chosen = [table[choose("row", name, table)] for name in (table if asked.all else asked.ids)]
    for claim in table.values() if asked.all or asked.list else chosen:
        row = stored_row(claim, asked.out)
        if not asked.list:
            store(row, asked.out)  # with today's texts
    jobs = [
        (seed, claim)
        for claim in chosen
        if claim.run is not None
        for seed in asked.seeds or claim.seeds
        if asked.again or asked.seeds or str(seed) not in stored_row(claim, asked.out)["runs"]
    ]
    lab = Lab(asked.results)
    for seed, claim in sorted(jobs, key=lambda job: job[0]):  # seed by seed: neighbours share their runs
        row = run_seed(claim, lab, seed, asked.out)
        run = row["runs"].get(str(seed))
        words = f"{run['cpu_seconds']} s" if run else "nothing is stored"
        print(f"{claim.id} seed {seed}: {words}, {verdict(row)}", flush=True)
    for claim in table.values() if asked.list else chosen:
        row = stored_row(claim, asked.out)
        print(f"{claim.id:4}{verdict(row):14} {len(row['runs'])} seeds  {claim.claim}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
