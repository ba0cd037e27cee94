"""Write the repository's address wherever it has to stand: `python -m tools.repository [ADDRESS]`.

`_config.yml` holds it, for the launch buttons, and so does the first code cell of every notebook, which fetches the
package where it is missing (a notebook opened alone, on Colab for example). Without an ADDRESS the notebooks follow
`_config.yml`.
"""

import re
from pathlib import Path

import click
import nbformat
import yaml

from tools.stamp import read_notebook

ROOT = Path(__file__).resolve().parents[1]
TAGS = ["setup", "remove-cell"]
SETUP = """\
# Opened alone, on Colab for example: fetch the book, install its package.
from importlib.util import find_spec
from pathlib import Path

if find_spec("nlcore") is None:
    !git clone --quiet --depth 1 {address} nlcore-book
    %pip install --quiet ./nlcore-book
if Path("nlcore-book").is_dir():  # also after a restart
    %cd nlcore-book/notebooks"""


def address(root: Path) -> str:
    """The address in `_config.yml`."""
    return yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


def write_config(path: Path, new: str) -> None:
    """Change the one line of `_config.yml` that holds the address; its comments stay."""
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"(?m)^(repository:\n(?:  .*\n)*?  url: )\S+", rf"\g<1>{new}", text), encoding="utf-8")


def write_setup_cell(path: Path, new: str) -> None:
    """Make the setup cell the first code cell of a notebook, with this address; a file that is right is not touched."""
    notebook = read_notebook(path)
    source = SETUP.format(address=new)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if code and code[0].source == source and code[0].metadata.get("tags") == TAGS:
        return
    cells = [cell for cell in notebook.cells if "setup" not in cell.metadata.get("tags", [])]
    place = next(number for number, cell in enumerate(cells) if cell.cell_type == "code")
    cells.insert(place, nbformat.v4.new_code_cell(source, metadata={"tags": TAGS}))
    for number, cell in enumerate(cells):  # as nbstripout numbers them
        cell["id"] = str(number)
    notebook.cells = cells
    nbformat.write(notebook, path)


@click.command()
@click.argument("new", metavar="[ADDRESS]", required=False)
def main(new: str | None) -> None:
    """Let _config.yml and every notebook name the repository at ADDRESS, such as https://github.com/OWNER/NAME."""
    if new is not None and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", new):
        raise click.ClickException(f"not the address of a GitHub repository: {new}")
    if new is not None:
        write_config(ROOT / "_config.yml", new.removesuffix(".git"))
    for path in sorted((ROOT / "notebooks").glob("[!.]*.ipynb")):
        write_setup_cell(path, address(ROOT))


if __name__ == "__main__":
    main()
