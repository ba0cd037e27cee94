"""Everything for teaching in one zip: `python -m tools.teaching`, after the notebooks were executed.

The kit is made from the executed copies, so what it shows is what the book shows. The same input gives the same bytes.
"""

import importlib.util
import io
import posixpath
import re
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click
import nbformat
import yaml
from nbformat import NotebookNode

from nlcore.basics.files import save_file
from tools.executed_notebooks import problem
from tools.stamp import read_notebook
from tools.teaching.copies import student_copy, teacher_copy
from tools.teaching.exam import figures, paper, read_questions
from tools.teaching.minutes import minutes_table
from tools.teaching.myst import Context, blocks, glued_values, read_references, readable
from tools.teaching.pages import page
from tools.teaching.slides import deck

ROOT = Path(__file__).resolve().parents[2]
NAME = "nlcore-teaching"
SOURCES = "book/_teaching"
COURSES = ("2_hours", "3_lessons", "2_days", "10_weeks")
SOURCE_TEXTS = ("README", *(f"syllabus_{course}" for course in COURSES))
ASSETS = Path(__file__).with_name("assets")
# file in the kit, below slides/assets → package that brings it, path in the package
BORROWED = {
    "mathjax/tex-svg.js": ("sphinx-mathjax-offline", "static/mathjax/tex-svg.js"),
    "reveal/LICENSE": ("sphinx_revealjs", "_static/revealjs/LICENSE"),
    "reveal/notes.js": ("sphinx_revealjs", "_static/revealjs/plugin/notes/notes.js"),
    "reveal/reset.css": ("sphinx_revealjs", "_static/revealjs/dist/reset.css"),
    "reveal/reveal.css": ("sphinx_revealjs", "_static/revealjs/dist/reveal.css"),
    "reveal/reveal.js": ("sphinx_revealjs", "_static/revealjs/dist/reveal.js"),
}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold


# --- the book --------------------------------------------------------------------------------------------------------


def pages_of(root: Path) -> list[str]:
    """All pages of the book, such as `notebooks/02_mining`, in order."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def title_of(root: Path, name: str) -> str:
    """The title of a page: its first heading. A page that the build writes has only its name."""
    notebook, text = root / f"{name}.ipynb", root / f"{name}.md"
    if notebook.is_file():
        source = read_notebook(notebook).cells[0].source
    else:
        source = text.read_text(encoding="utf-8") if text.is_file() else ""
    heading = re.search(r"(?m)^# (.+)$", source)
    return heading[1].strip() if heading else Path(name).name.replace("_", " ")


def pictures(chapters: Mapping[str, NotebookNode], root: Path) -> dict[str, bytes]:
    """The image files that the texts of chapters show, by their paths from the root."""
    texts = [cell.source for notebook in chapters.values() for cell in notebook.cells if cell.cell_type == "markdown"]
    shown = {block.title for text in texts for block in blocks(text) if block.kind == "figure"}
    paths = {posixpath.normpath(f"notebooks/{place}") for place in shown}
    return {path: (root / path).read_bytes() for path in sorted(paths)}


def executed_chapters(root: Path, executed: Path) -> dict[str, NotebookNode]:
    """Executed copies by chapter, in the order of the book; a copy that the book could not show is refused."""
    found = {}
    for name in [Path(place).name for place in pages_of(root) if place.startswith("notebooks/")]:
        copy = executed / f"{name}.ipynb"
        if trouble := problem(root / "notebooks" / f"{name}.ipynb", copy):
            raise click.ClickException(f"{name} {trouble} (make notebooks executes it)")
        found[name] = read_notebook(copy)
    return found


# --- the kit ---------------------------------------------------------------------------------------------------------


def kit(root: Path, executed: Path) -> dict[str, bytes]:
    """All files of the kit by their paths in it."""
    chapters = executed_chapters(root, executed)
    context = context_of(root, chapters)
    by_chapter = {name: context.titles[f"notebooks/{name}"] for name in chapters}

    files = slide_assets()
    for name, notebook in chapters.items():
        own = replace(context, chapter=name, link="{}.ipynb")
        files[f"student/{name}.ipynb"] = nbformat.writes(student_copy(notebook, own)).encode()
        files[f"teacher/{name}.ipynb"] = nbformat.writes(teacher_copy(notebook, own)).encode()
        files[f"slides/{name}.html"] = deck(notebook, replace(own, link="{}.html")).encode()
    # Notebooks and slides lie one folder deep, as in the repository: pictures are found where they are there.
    files |= pictures(chapters, root)

    sources = root / SOURCES
    questions = read_questions(sources / "exam.yml")
    texts = {name: (sources / f"{name}.md").read_text(encoding="utf-8") for name in SOURCE_TEXTS}
    documents = {f"syllabus/{name}": raised(readable(texts[f"syllabus_{name}"], context)) for name in COURSES}
    documents["syllabus/minutes"] = minutes_table(chapters, by_chapter)
    documents["exam/questions"] = paper(questions, by_chapter, answers=False)
    documents["exam/answers"] = paper(questions, by_chapter, answers=True)
    documents["README"] = f"{texts['README']}\n{chapter_list(by_chapter)}"
    for name, text in documents.items():
        files |= document(name, text)
    files |= {f"exam/{name}": content for name, content in figures(questions).items()}
    files["exam/exam.yml"] = (sources / "exam.yml").read_bytes()
    # Notebooks look for stored results beside their own folder.
    results = [path for path in sorted((root / "results").rglob("*")) if path.is_file()]
    files |= {path.relative_to(root).as_posix(): path.read_bytes() for path in results}
    files["LICENSE"] = (root / "LICENSE").read_bytes()
    return files


def context_of(root: Path, chapters: Mapping[str, NotebookNode]) -> Context:
    """What the texts of these chapters refer to; their links lead to slides."""
    return Context(
        glued={name: glued_values(notebook) for name, notebook in chapters.items()},
        references=read_references(root / "book" / "references.bib"),
        titles={name: title_of(root, name) for name in pages_of(root)},
        link="../slides/{}.html",
    )


def slide_assets() -> dict[str, bytes]:
    """Styles and scripts that slides need, by their paths in the kit."""
    files = {f"slides/assets/{path.name}": path.read_bytes() for path in sorted(ASSETS.iterdir())}
    return files | {f"slides/assets/{name}": borrowed(*place) for name, place in BORROWED.items()}


def chapter_list(titles: Mapping[str, str]) -> str:
    """Markdown: where each chapter is in the kit."""
    rows = ["| chapter | slides | notebook | with solutions |", "|---|---|---|---|"]
    for name, title in titles.items():
        places = {
            "slides": f"slides/{name}.html",
            "student": f"student/{name}.ipynb",
            "teacher": f"teacher/{name}.ipynb",
        }
        rows.append(f"| {title} | {' | '.join(f'[{words}]({place})' for words, place in places.items())} |")
    return "\n".join(["## Chapters\n", *rows])


def raised(text: str) -> str:
    """A section of a page as a page of its own: its headings one level higher."""
    return re.sub(r"(?m)^#(#+ )", r"\1", text)


def document(name: str, text: str) -> dict[str, bytes]:
    """A text twice: to edit, and to read or print."""
    title = re.search(r"(?m)^# (.+)$", text)[1]
    assets = "../" * name.count("/") + "slides/assets"
    return {f"{name}.md": (text.strip() + "\n").encode(), f"{name}.html": page(title, text, assets).encode()}


def borrowed(package: str, path: str) -> bytes:
    """A file that an installed package brings."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise click.ClickException(f"the package {package} is not installed")
    return Path(spec.submodule_search_locations[0], path).read_bytes()


def machine_paths(files: Mapping[str, bytes], root: Path) -> list[str]:
    """Files that name a folder of this machine."""
    folders = {str(folder) for folder in (root, Path.home(), Path(sys.prefix), Path(tempfile.gettempdir()))}
    marks = [f"{folder}/".encode() for folder in folders if folder != "/"]
    own = {name: content for name, content in files.items() if not name.startswith("slides/assets/")}
    return [name for name, content in own.items() if any(mark in content for mark in marks)]


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on nothing but the files: sorted, without dates, all in one folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{NAME}/{name}", date_time=EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, files[name])
    return content.getvalue()


def checked_kit(root: Path, executed: Path) -> dict[str, bytes]:
    """The kit; refused where something is missing, and where it would name a folder of this machine."""
    try:
        files = kit(root, executed)
    except (KeyError, ValueError, OSError) as error:
        raise click.ClickException(f"a chapter refers to something that does not exist: {error}") from None
    if named := machine_paths(files, root):
        raise click.ClickException(f"a folder of this machine is named in {', '.join(named)}")
    return files


@click.command(help=__doc__)
@click.option("--executed", type=click.Path(path_type=Path), help="folder of the executed notebooks")
@click.option("--output", type=click.Path(path_type=Path), help=f"default: _build/{NAME}.zip")
def main(executed: Path | None, output: Path | None) -> None:
    output = output.expanduser() if output else ROOT / "_build" / f"{NAME}.zip"
    files = checked_kit(ROOT, executed.expanduser() if executed else ROOT / "_build" / "executed" / "notebooks")
    save_file(output, zipped(files))
    click.echo(f"{output}  {len(files)} files, {output.stat().st_size / 1e6:.1f} MB")
