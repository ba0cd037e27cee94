"""tools/teaching/myst.py: what becomes of each directive and role, and that nothing of MyST is left in the chapters."""

import re
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest

from tools.teaching.kit import pages_of, title_of
from tools.teaching.myst import Context, Reference, blocks, cited_keys, glued_values, read_references, readable

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONTEXT = Context(
    chapter="one",
    glued={"one": {"rate": "36.302", "kind": "'idn_xia'", "none": "nan"}, "two": {"count": "7"}},
    references={"li2020": Reference("Li et al.", "2020", "Li"), "bai2024": Reference("Bai", "2024", "Bai")},
    titles={"notebooks/one": "Chapter one", "notebooks/two": "Chapter two", "book/notation": "Notation"},
)


def plain(text: str, **options: bool) -> str:
    return readable(text, CONTEXT, **options)


def test_exercise_is_a_bold_title_and_its_text() -> None:
    text = "Before.\n\n```{exercise} Count them\n:label: one-count\n\nHow many?\n```\n\nAfter."
    assert plain(text) == "Before.\n\n**Exercise: Count them**\n\nHow many?\n\nAfter."


def test_solution_is_shown_or_left_out() -> None:
    text = "Before.\n\n````{solution} one-count\n:class: dropdown\n\n```python\nprint(7)\n```\n````"
    assert plain(text) == "Before.\n\n**Solution**\n\n```python\nprint(7)\n```"
    assert plain(text, solutions=False) == "Before."


def test_gates_of_a_solution_vanish() -> None:
    assert plain("````{solution-start} one-count\n:class: dropdown\n````") == "**Solution**"
    assert plain("Seven.\n\n````{solution-end}\n````") == "Seven."


def test_gate_in_a_cell_for_students_is_refused() -> None:
    with pytest.raises(ValueError, match="one: a solution-start in a cell without the tag"):
        plain("````{solution-start} one-count\n````", solutions=False)


@pytest.mark.parametrize("fence", ["```", "````", "~~~", ":::"])
def test_admonition_is_a_quotation(fence: str) -> None:
    assert plain(f"{fence}{{warning}}\nMind.\n\nTwice.\n{fence}") == "> **Warning**\n>\n> Mind.\n>\n> Twice."
    assert plain(f"{fence}{{admonition}} A title\nMind.\n{fence}") == "> **A title**\n>\n> Mind."


def test_figure_is_an_image_and_its_caption() -> None:
    directive = "```{figure} ../book/seen.png\n:alt: Six cats.\n:name: fig-seen\n\nSeen by {cite:t}`li2020`.\n```"
    assert plain(directive) == "![Six cats.](../book/seen.png)\n\nSeen by Li et al. (2020)."


def test_quiz_without_solutions_is_a_list_of_its_answers() -> None:
    quiz = "```{admonition} How many?\n:class: quiz\n- [ ] three :: too few\n- [x] four ::\n  counted\n```"
    assert plain(quiz, solutions=False) == "> **How many?**\n>\n> - three\n> - four"
    assert "- [x] four ::\n>   counted" in plain(quiz)


def test_code_is_not_touched() -> None:
    code = "```python\nprint('{doc}`two`')  # ```{note}\n```"
    assert plain(code) == code


def test_directive_inside_another_is_resolved() -> None:
    assert plain("````{note}\n```{math}\nx^2\n```\n````") == "> **Note**\n>\n> $$\n> x^2\n> $$"


def test_values_are_written_as_on_the_page() -> None:
    assert plain("{glue:text}`rate:.1f` %, {glue:text}`kind`, {glue:text}`none:.0f`") == "36.3 %, idn_xia, nan"
    assert plain("{glue:text}`rate`; {glue:text}`rate:+.2f`") == "36.302; +36.30"
    assert plain("{glue:text}`../notebooks/two.ipynb::count:.0f`, {glue:text}`two.ipynb::count`") == "7, 7"


def test_unknown_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="missing"):
        plain("{glue:text}`missing:.1f`")


def test_citations_name_authors_and_year() -> None:
    assert (
        plain("so {cite:p}`li2020,bai2024`; {cite:t}`li2020` say")
        == "so (Li et al. 2020; Bai 2024); Li et al. (2020) say"
    )


def test_chapters_are_links_and_other_pages_words() -> None:
    assert plain("{doc}`two`, {doc}`it <two>`") == "[Chapter two](two.ipynb), [it](two.ipynb)"
    assert plain("{doc}`/notebooks/two`, [two](two.ipynb)") == "[Chapter two](two.ipynb), [two](two.ipynb)"
    assert plain("{doc}`../book/notation`, [symbols](../book/notation.md)") == "Notation, symbols"


def test_link_follows_the_folder() -> None:
    context = Context(titles=CONTEXT.titles, link="../slides/{}.html")
    assert readable("{doc}`/notebooks/two` [b](two.ipynb)", context) == (
        "[Chapter two](../slides/two.html) [b](../slides/two.html)"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{term}`anchor <anchors>`", "anchor"),
        ("{ref}`two-streams`", "two streams"),
        ("{py:func}`~nlcore.noise.models.draw`", "`draw`"),
        ("{math}`x^2`", "$x^2$"),
        ("(a-target)=\n# Title", "# Title"),
        ("$$ x $$ (eq-x)", "$$ x $$"),
    ],
)
def test_other_roles_and_targets_become_plain(text: str, words: str) -> None:
    assert plain(text) == words


def test_blocks_keep_the_order() -> None:
    kinds = [block.kind for block in blocks("a\n```{note}\nb\n```\nc\n```\nd\n```\n")]
    assert kinds == ["text", "note", "text", "code"]


def test_glued_values_leave_the_notebook_as_it_is() -> None:
    data = {"application/papermill.record/text/plain": "7"}
    metadata = {"scrapbook": {"mime_prefix": "application/papermill.record/", "name": "count"}}
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("glue()", outputs=[output])])
    assert glued_values(notebook) == glued_values(notebook) == {"count": "7"}


def test_references_are_read_without_latex() -> None:
    works = read_references(ROOT / "book" / "references.bib")
    assert works["tarvainen2017"].authors == "Tarvainen and Valpola"
    assert works["arpit2017"].authors == "Arpit et al."
    assert not [key for key, work in works.items() if re.search(r"[{}\\]", work.listing)]


def test_each_work_is_cited_once() -> None:
    assert cited_keys("{cite:p}`a, b` {cite:t}`a` {doc}`c`") == ["a", "b"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_myst_is_left_in_a_chapter(notebook: Path) -> None:
    context = Context(
        chapter=notebook.stem,
        glued=defaultdict(lambda: defaultdict(lambda: "1")),
        references=read_references(ROOT / "book" / "references.bib"),
        titles={name: title_of(ROOT, name) for name in pages_of(ROOT)},
    )
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "markdown"]
    for cell in cells:
        text = readable(cell.source, context, solutions="solution" in cell.metadata.get("tags", []))
        assert not re.search(r"\{[a-z:]+\}`|^\s*[`:]{3,}\{", text, re.MULTILINE), text
