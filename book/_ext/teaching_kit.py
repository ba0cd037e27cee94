"""Sphinx extension: the teacher's kit is a part of the HTML book.

The directive `teaching-kit` puts the kit beside the pages, made from the executed notebooks that they show. It links
the kit, says its size, and shows the first chapter's slides. Where no kit can be made, because a notebook was not
executed for example, the build says so in one line, and the page names the command that makes one.
"""

from pathlib import Path

from click import ClickException
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from tools.teaching.published import Published, publish

FRAME = (
    '<iframe src="{address}" title="Slides of the first chapter" loading="lazy" allowfullscreen '
    'style="aspect-ratio: 16 / 9; border: 1px solid #888; width: 100%"></iframe>'
)
log = logging.getLogger(__name__)


class TeachingKit(SphinxDirective):
    """Make the kit at every build: it depends on all notebooks."""

    def run(self) -> list[nodes.Node]:
        """Links and a frame, or a sentence on how to get a kit."""
        self.env.note_reread()
        kit = self.kit()
        if kit is None:
            return [words("This copy of the book has no kit. The command ", code("make teaching"), " makes one.")]
        up = "../" * self.env.docname.count("/")
        download = nodes.strong("", "", link(up + kit.kit, "Download the teacher's kit"))
        about = f" ({kit.megabytes:.1f} MB, {kit.chapters} chapters). It was made together with these pages."
        slides = link(up + kit.slides, "in a window of their own")
        keys = ". Arrow keys turn them; the key S opens the speaker's window, with notes and answers."
        frame = nodes.raw("", FRAME.format(address=up + kit.slides), format="html")
        return [words(download, about), words("The slides of the first chapter, here or ", slides, keys), frame]

    def kit(self) -> Published | None:
        """The kit; none where it cannot be made, or the pages are not files beside which it could lie."""
        if self.env.app.builder.name != "html":
            return None
        root = Path(self.env.srcdir)
        try:
            return publish(root, root / self.config.executed_notebooks / "notebooks", Path(self.env.app.outdir))
        except ClickException as problem:
            log.info("no teacher's kit: %s", problem.message)
            return None


def words(*parts: str | nodes.Node) -> nodes.paragraph:
    """A paragraph of words and other parts."""
    return nodes.paragraph("", "", *(nodes.Text(part) if isinstance(part, str) else part for part in parts))


def code(text: str) -> nodes.literal:
    """A command."""
    return nodes.literal("", text)


def link(address: str, text: str) -> nodes.reference:
    """A link to a file beside the pages."""
    return nodes.reference("", text, refuri=address)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("teaching-kit", TeachingKit)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
