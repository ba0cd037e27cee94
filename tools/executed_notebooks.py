"""Sphinx extension: a notebook's page shows the outputs of its executed copy.

The notebooks are kept without outputs; ``python -m tools.execute`` writes executed copies into the folder that the
configuration value ``executed_notebooks`` names. Replacing the text at ``source-read`` leaves the page's address, its
download link and its edit link with the real notebook. A copy that is missing, failed, or was made from other cells is
a warning, which ``-W`` makes an error: a page cannot show the output of other code.
"""

from collections.abc import Iterable
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from tools.stamp import cell_sources, read_notebook

logger = logging.getLogger(__name__)


def copy_of(app: Sphinx, docname: str) -> Path | None:
    """Where the executed copy of a page should be; None when the page is not a notebook."""
    source = Path(app.env.doc2path(docname))
    if source.suffix != ".ipynb":
        return None
    return Path(app.srcdir, app.config.executed_notebooks, source.relative_to(app.srcdir))


def problem(source: Path, copy: Path) -> str | None:
    """Why the copy must not be shown as the source's outputs, or None."""
    if not copy.is_file():
        return "was not executed"
    executed = read_notebook(copy)
    record = executed.metadata.get("nlcore", {})
    if record.get("status") == "failed" or executed.metadata.get("papermill", {}).get("exception"):
        return f"failed when it was executed: {record.get('error')}"
    if cell_sources(executed) != cell_sources(read_notebook(source)):
        return "changed after it was executed"
    return None


def show_executed_copy(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace a notebook's text, or warn."""
    copy = copy_of(app, docname)
    if copy is None:
        return
    app.env.note_dependency(str(copy))
    trouble = problem(Path(app.env.doc2path(docname)), copy)
    if trouble:
        logger.warning("this notebook %s (make notebooks executes it)", trouble, location=docname)
    if copy.is_file():
        source[0] = copy.read_text(encoding="utf-8")


def read_again(app: Sphinx, env: BuildEnvironment, *_changes: object) -> Iterable[str]:
    """Pages with a problem are read, hence warned of, at every build, not only at the first."""
    for docname in env.found_docs:
        copy = copy_of(app, docname)
        if copy is not None and problem(Path(env.doc2path(docname)), copy):
            yield docname


def drop_thebe(app: Sphinx, _page: str, _template: str, context: dict, _doctree: object) -> None:
    """jupyter-book always adds Thebe's scripts; this book has no live cells, and their body names another host."""
    context["script_files"] = [
        file
        for file in context["script_files"]
        if not ("thebe" in str(file).lower() or "THEBE" in str(getattr(file, "attributes", "")))
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_config_value("executed_notebooks", "_build/executed", "env", types=(str,))
    app.connect("source-read", show_executed_copy)
    app.connect("env-get-outdated", lambda *event: list(read_again(*event)))
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
