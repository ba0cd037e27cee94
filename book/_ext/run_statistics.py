"""Sphinx extension: what the notebooks take, at the foot of each and on a page of its own.

A line at the foot of every notebook's page says what its execution took at the profile that was built, and what was
stored for the others. The directive `run-statistics` lists every notebook of the book with time, memory and parameters,
grouped by what it ran on; `run-times` lists the stored times of all profiles.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

from nlcore.basics.progress import duration
from tools.executed_notebooks import copy_of
from tools.statistics import memory, own_seconds, run_record, stored_times, times_file

PAGE = "book/run_statistics"
WHY_NOT = {"full": " (meant for a GPU)"}


# --- the line at the foot --------------------------------------------------------------------------------------------


def add_line(app: Sphinx, document: nodes.document) -> None:
    """Say at the foot of a notebook's page what it takes: the title is for readers, and for search engines."""
    copy, title = copy_of(app, app.env.docname), document.next_node(nodes.title)
    record = run_record(copy) if copy else None
    if record is None or title is None:
        return
    app.env.note_dependency(str(times_file(Path(app.srcdir))))
    line = nodes.paragraph("", line_text(copy.stem, record, stored_times(Path(app.srcdir))), classes=["run-time"])
    if PAGE in app.env.found_docs:
        line += [nodes.Text(" "), link(PAGE, app.env.docname, "All run times"), nodes.Text(".")]
    title.parent.append(line)


def line_text(name: str, record: dict[str, Any], times: dict) -> str:
    """`Runs in 12 s at the standard profile, with 610 MB, on CPU (2 cores). Smoke: 5 s. Full: not measured.`"""
    seconds = own_seconds(name, record, times)
    time = "Its time was not measured" if seconds is None else f"Runs in {duration(seconds)}"
    here = f"{time} at the {record['profile']} profile"
    sentences = [f"{here}, with {memory(record['peak_memory_mb'])}, on {record['device']}."]
    for profile, notebooks in times.items():
        if profile != record["profile"]:
            sentences.append(f"{profile.capitalize()}: {stored(notebooks.get(name), WHY_NOT.get(profile, ''))}.")
    return " ".join(sentences)


def stored(time: dict[str, Any] | None, why_not: str = "") -> str:
    """A stored time in words, or that there is none."""
    return duration(time["seconds"]) if time else f"not measured{why_not}"


# --- the page --------------------------------------------------------------------------------------------------------


class statistics_here(nodes.General, nodes.Element):
    """Where a table goes once all pages are known; its class says which."""


class RunStatistics(SphinxDirective):
    """Mark the place, and have the page read again whenever a table's source changes."""

    def run(self) -> list[nodes.Node]:
        """One placeholder."""
        for docname in self.env.found_docs:
            if copy := copy_of(self.env.app, docname):
                self.env.note_dependency(str(copy))
        self.env.note_dependency(str(times_file(Path(self.env.srcdir))))
        return [statistics_here(classes=[self.name])]


class FillIn(SphinxPostTransform):
    """Put the tables in, before references are resolved."""

    default_priority = 5

    def run(self, **_: Any) -> None:
        """Replace every placeholder of the page."""
        for place in list(self.document.findall(statistics_here)):
            content = {"run-statistics": executed_tables, "run-times": stored_table}[place["classes"][0]]
            place.parent.replace(place, list(content(self.env, self.env.docname)))


def chapters(env: BuildEnvironment, docname: str | None = None) -> Iterator[str]:
    """The notebooks of the book in the order of its contents."""
    docname = docname or env.config.root_doc
    if copy_of(env.app, docname):
        yield docname
    for child in env.toctree_includes.get(docname, []):
        yield from chapters(env, child)


def executed_tables(env: BuildEnvironment, page: str) -> Iterator[nodes.Node]:
    """For each combination of profile, device and versions, a paragraph and a table of the notebooks that ran so."""
    groups, times = {}, stored_times(Path(env.srcdir))
    for docname in chapters(env):
        if record := run_record(copy_of(env.app, docname)):
            versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
            groups.setdefault((record["profile"], record["device"], versions), []).append((docname, record))
    for (profile, device, versions), runs in groups.items():
        records = [record for _, record in runs]
        first, *_, last = sorted(record["finished"][:10] for record in records * 2)
        seconds = [own_seconds(Path(docname).name, record, times) for docname, record in runs]
        known = [time for time in seconds if time is not None]
        total = duration(sum(known)) if len(known) == len(runs) else f"{duration(sum(known))} for {len(known)} of them"
        sentence = f"Profile {profile}, on {device}, with {versions}. Together {total}, one after the other."
        yield nodes.paragraph("", f"{sentence} Finished on {first if first == last else f'{first} to {last}'}.")
        rows = [
            [
                link(docname, page),
                nodes.Text("not measured" if time is None else duration(time)),
                nodes.Text(memory(record["peak_memory_mb"])),
                nodes.Text(", ".join(f"{key} = {value}" for key, value in record["parameters"].items()) or "defaults"),
            ]
            for (docname, record), time in zip(runs, seconds, strict=True)
        ]
        yield table(["Chapter", "Time", "Memory", "Parameters"], rows)


def stored_table(env: BuildEnvironment, page: str) -> Iterator[nodes.Node]:
    """The stored times of all profiles, and what each was measured on."""
    times = stored_times(Path(env.srcdir))
    rows = [
        [link(docname, page), *(nodes.Text(stored(notebooks.get(Path(docname).name))) for notebooks in times.values())]
        for docname in chapters(env)
    ]
    yield table(["Chapter", *(profile.capitalize() for profile in times)], rows)
    for profile, notebooks in times.items():
        sources = sorted({f"on {time['device']}, code {time['code']}" for time in notebooks.values()})
        if len(notebooks) < len(rows):
            sources.append(("others " if sources else "") + stored(None, WHY_NOT.get(profile, "")))
        yield nodes.paragraph("", f"{profile.capitalize()}: {'; '.join(sources)}.")


def table(header: list[str], rows: list[list[nodes.Node]]) -> nodes.table:
    """A table whose first column heads its rows."""
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=1, **({"stub": 1} if not i else {})) for i in range(len(header))]
    head, body = nodes.thead(), nodes.tbody()
    for section, lines in ((head, [[nodes.Text(word) for word in header]]), (body, rows)):
        for cells in lines:
            section += nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))
    group += [head, body]
    return nodes.table("", group, classes=["run-statistics"])


def link(docname: str, page: str, words: str | None = None) -> pending_xref:
    """A link from `page` to another; without `words` it shows that page's title."""
    return pending_xref(
        "", nodes.inline("", words or ""), refdomain="std", reftype="doc", reftarget=f"/{docname}", refdoc=page,
        refexplicit=words is not None, refwarn=True,
    )  # fmt: skip


def read_again(_app: Sphinx, env: BuildEnvironment, added: set, _changed: set, removed: set) -> Iterable[str]:
    """The page lists all notebooks: a new one and a lost one change it."""
    return [PAGE] if (added | removed) and PAGE in env.found_docs else []


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_node(statistics_here)
    app.add_directive("run-statistics", RunStatistics)
    app.add_directive("run-times", RunStatistics)
    app.add_post_transform(FillIn)
    app.connect("doctree-read", add_line)
    app.connect("env-get-outdated", read_again)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
