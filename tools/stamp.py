"""What an executed notebook was computed from, as one hash, and which of its cells are the author's."""

import hashlib
import json
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nbformat

# Cells that papermill adds to the executed copy.
ADDED = {"injected-parameters", "papermill-error-cell-tag"}


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """The notebook as nbformat 4, whatever minor version it was saved in."""
    return nbformat.read(path, as_version=4)


def author_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The notebook's cells without those that papermill added."""
    return [cell for cell in notebook.cells if not ADDED & set(cell.metadata.get("tags", []))]


def cell_sources(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Type and source of each of the author's cells: two notebooks with equal ones compute the same."""
    return [(cell.cell_type, cell.source) for cell in author_cells(notebook)]


def stamp(root: Path, source: Path, parameters: dict[str, Any]) -> str:
    """A hash of all that the outputs depend on: cells, parameters, package, stored results, Python and torch."""
    # Cell metadata counts too: tags and alternative texts reach the page through the executed copy.
    ingredients = [
        [(cell.cell_type, cell.source, cell.metadata) for cell in read_notebook(source).cells],
        parameters,
        [(str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in _inputs(root)],
        platform.python_version(),
        _version("torch"),
    ]
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True, default=str).encode()).hexdigest()


def _inputs(root: Path) -> Iterator[Path]:
    kinds = {".py", ".js", ".css", ".html"}
    yield from sorted(path for path in (root / "nlcore").rglob("*") if path.suffix in kinds)
    yield from sorted(path for path in (root / "results").rglob("*") if path.is_file())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
