"""Run notebooks as Colab does: each alone in an empty folder, in an environment without nlcore.

    python -m venv colab
    colab/bin/pip install papermill torch torchvision pandas matplotlib seaborn scikit-learn tqdm ipykernel
    colab/bin/python -m tools.alone [NOTEBOOK]...

The first cell of a notebook has to fetch this repository and to install its package. It is fetched from the checkout
that this file lies in, as last committed, not from the address that the notebook names. Parameters are those of the
smoke profile.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import papermill
import yaml

ROOT = Path(__file__).resolve().parents[1]
CELL = 1800  # seconds for one cell: some of them install the package


def run_alone(notebook: Path, parameters: dict[str, Any]) -> None:
    """Execute a copy of the notebook in an empty folder, then forget the package that it installed there."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(notebook, folder)
        papermill.execute_notebook(
            copy, copy, parameters, kernel_name="python3", cwd=folder, progress_bar=False, execution_timeout=CELL
        )
        if not Path(folder, "nlcore-book").is_dir():
            raise click.ClickException(f"{notebook.stem} fetched nothing: is nlcore installed here already?")
    command = [sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", "nlcore"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


@click.command()
@click.argument("names", nargs=-1, metavar="[NOTEBOOK]...")
def main(names: tuple[str, ...]) -> None:
    """Execute NOTEBOOKs (all by default), each alone."""
    address = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    # Git reads this as `git config url.HERE.insteadOf ADDRESS`.
    os.environ |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf"}
    os.environ["GIT_CONFIG_VALUE_0"] = address
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    entries = yaml.safe_load((ROOT / "notebooks" / "profiles.yml").read_text(encoding="utf-8"))["smoke"]
    for name in names or entries:
        run_alone(ROOT / "notebooks" / f"{name}.ipynb", entries[name]["parameters"])
        click.echo(name)


if __name__ == "__main__":
    main()
