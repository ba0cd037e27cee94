"""Build the book with Sphinx alone, without jupyter-book: ``python -m tools.plain_sphinx [BUILDER]``.

- ``html`` (into ``_build/plain``): proof that the sources do not hang on jupyter-book;
- ``singlehtml`` (into ``_build/single``): the whole book on one page, and where Chromium is found also as ``book.pdf``;
- ``linkcheck`` (into ``_build/links``): follows every link that leaves the book.

jupyter-book says what ``_config.yml`` means to Sphinx; its own extensions are then left out. Every build starts afresh
and leaves nothing but its output.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import yaml
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from tools.check_browser import find_browser

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = {"html": "plain", "singlehtml": "single", "linkcheck": "links"}
JUPYTER_BOOK = {"jupyter_book", "sphinx_thebe", "sphinx_comments", "sphinx_jupyterbook_latex"}
THEIR_OPTIONS = {"comments_config", "use_jupyterbook_latex"}


def configuration(root: Path) -> dict[str, Any]:
    """What jupyter-book would write into a `conf.py`, less its own extensions."""
    with tempfile.TemporaryDirectory() as folder:
        config = shutil.copy(root / "_config.yml", folder)
        command = [Path(sys.executable).with_name("jupyter-book"), "config", "sphinx", root, "--config", config]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(done.stdout + done.stderr)
        found = runpy.run_path(f"{folder}/conf.py").items()
    options = {name: value for name, value in found if not name.startswith("__") and name not in THEIR_OPTIONS}
    extensions = [name for name in options["extensions"] if name not in JUPYTER_BOOK]
    return options | {"extensions": [*extensions, __spec__.name], "nitpicky": True}


def setup(app: Sphinx) -> None:
    """Register this module as an extension."""
    app.connect("builder-inited", prepare_single_page)


def prepare_single_page(app: Sphinx) -> None:
    """Let the single page be written like the other pages."""
    if app.builder.name == "singlehtml":
        # An extension that names this builder for its own node takes those of all others from it.
        handlers = app.registry.translation_handlers
        handlers["singlehtml"] = handlers["html"] | handlers.get("singlehtml", {})


def to_the_top(output: Path) -> Path:
    """Move the single page to the top of its folder: Sphinx writes its addresses as if it were there."""
    first = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["root"] + ".html"
    text = (output / first).read_text(encoding="utf-8")
    (output / first).unlink()
    text = text.replace(f'href="{first}#', 'href="#').replace(f'href="{first}"', 'href="#"')
    # The theme's script takes the address of a heading for a selector, in which a slash is an error.
    text = re.sub(r'(?<=["#]document-)[^"]+', lambda address: address[0].replace("/", "-"), text)
    page = output / "index.html"
    page.write_text(text, encoding="utf-8")
    return page


def print_to_pdf(page: Path) -> None:
    """Print a page to `book.pdf` beside it, where there is a Chromium to do it."""
    browser = find_browser()
    if browser is None:
        click.echo("no book.pdf: no Chromium found")
        return
    target = page.with_name("book.pdf")
    options = ["--headless", "--disable-gpu", "--no-pdf-header-footer", f"--print-to-pdf={target}"]
    options += ["--virtual-time-budget=60000"]  # milliseconds, for the formulas
    options += ["--no-sandbox"] if os.geteuid() == 0 else []  # root, in containers, cannot have one
    done = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, timeout=900, check=False)
    click.echo(target if target.is_file() else f"no book.pdf: {browser} failed\n{done.stderr}")


@click.command()
@click.argument("builder", type=click.Choice(list(OUTPUTS)), default="html")
def main(builder: str) -> None:
    """Build the book with plain Sphinx; a warning is an error."""
    output = ROOT / "_build" / OUTPUTS[builder]
    shutil.rmtree(output, ignore_errors=True)
    sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext")]
    with tempfile.TemporaryDirectory() as doctrees, patch_docutils(), docutils_namespace():
        app = Sphinx(
            ROOT, None, output, doctrees, builder, configuration(ROOT), None, warningiserror=True, keep_going=True
        )
        app.build()
    if app.statuscode:
        sys.exit(app.statuscode)
    if builder == "singlehtml":
        print_to_pdf(to_the_top(output))
    click.echo(output)


if __name__ == "__main__":
    main()
