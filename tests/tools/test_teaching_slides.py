"""tools/teaching/slides.py: what goes on a slide, what into the notes, and what is left out."""

import html

import pytest
from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.teaching.deck import CONTINUED, ROWS, sentences
from tools.teaching.myst import Context, Reference
from tools.teaching.slides import announcement, deck

CONTEXT = Context(
    chapter="one",
    glued={"one": {"count": "7"}},
    references={"li2020": Reference("Li et al.", "2020", "Li")},
    titles={"notebooks/one": "One & all", "notebooks/two": "Two"},
)
FIGURE = new_output("display_data", data={"image/png": "iVBORw0KGgo="})
START = "# One & all\n\nAn introduction.\n\nAfter this chapter you can\n\n- count;\n- stop.\n\n**Time**: little."


def text(source: str, *tags: str) -> NotebookNode:
    return new_markdown_cell(source, metadata={"tags": list(tags)})


def code(source: str, *tags: str, alt: str = "", caption: str = "", outputs: tuple = ()) -> NotebookNode:
    metadata = {"tags": list(tags)}
    if alt or caption:
        metadata["mystnb"] = {"image": {"alt": alt}, "figure": {"caption": caption}}
    return new_code_cell(source, metadata=metadata, outputs=list(outputs))


def slides(*cells: NotebookNode) -> list[Tag]:
    page = deck(new_notebook(cells=[text(START), *cells]), CONTEXT)
    return BeautifulSoup(page, "lxml").select(".slides > section")


def shown(slide: Tag) -> str:
    return " ".join(slide.select_one(".body").get_text().split())


def said(slide: Tag) -> str:
    return " ".join(slide.select_one(".notes").get_text().split())


def test_first_slide_has_title_and_goals() -> None:
    (first,) = slides()
    assert first.h1.get_text() == "One & all"
    assert shown(first) == "After this chapter you can count; stop."
    assert [item.get_text() for item in first.select(".body > ul > li")] == ["count;", "stop."]
    assert said(first) == "An introduction. After this chapter you can Time: little."


def test_heading_starts_a_slide() -> None:
    found = slides(text("## The *first*\n\n- a\n\n### The second\n\n- b"))
    assert [slide.h2.decode_contents() for slide in found[1:]] == ["The <em>first</em>", "The second"]


def test_prose_is_said_and_figures_tables_and_formulas_are_shown() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    _, slide = slides(text(f"## Results\n\nThere are {{glue:text}}`count`.\n\n$$ x^2 $$\n\n{table}\n\nSo it is."))
    assert shown(slide) == r"\[x^2\] a b 1 2"
    assert said(slide) == "There are 7. So it is."


def test_sentence_that_leads_on_is_shown_too() -> None:
    _, slide = slides(text("## Results\n\nFirst. Then we fit\n\n$$ x^2 $$"))
    assert shown(slide) == r"Then we fit \[x^2\]"


def test_slide_without_anything_to_show_gives_its_first_sentence() -> None:
    _, slide = slides(text("## A thought\n\nOne thing matters. The rest does not."))
    assert shown(slide) == "One thing matters."
    assert said(slide) == "One thing matters. The rest does not."


def test_heading_without_anything_is_no_slide() -> None:
    assert len(slides(text("## Exercises"))) == 1


def test_figure_has_its_words() -> None:
    _, slide = slides(text("## A figure"), code("plot()", alt='Seven "dots".', outputs=(FIGURE,)))
    assert slide.img["alt"] == 'Seven "dots".'
    assert slide.img["src"] == "data:image/png;base64,iVBORw0KGgo="


def test_figure_has_its_caption() -> None:
    caption = "The *sure* ones, {glue:text}`count` of them, at $x^2$."
    _, slide = slides(text("## A figure"), code("plot()", alt="Dots.", caption=caption, outputs=(FIGURE,)))
    below = slide.select_one("figure > img + figcaption")
    assert below.p.em.get_text() == "sure"
    assert below.get_text() == r"The sure ones, 7 of them, at \(x^2\)."


def test_thesis_stands_above_the_figure_on_one_slide() -> None:
    words = "**Labels are wrong, and *nobody*\nknows which.** So we measure. **This** is no thesis."
    _, slide = slides(text(f"## Wrong\n\n{words}\n\n**Nor is this.**"), code("plot()", outputs=(FIGURE,)))
    assert [part["class"][0] if part.get("class") else part.name for part in slide.select(".body > *")] == [
        "thesis",
        "figure",
    ]
    assert shown(slide) == "Labels are wrong, and nobody knows which."
    assert said(slide) == shown(slide) + " So we measure. This is no thesis. Nor is this."


@pytest.mark.parametrize("place", ["before", "after"])
def test_figure_takes_the_place_of_tables_and_of_sentences_computed_beside_it(place: str) -> None:
    written = text("| a |\n|---|\n| 1 |")
    frame = new_output("execute_result", data={"text/html": "<table><tr><td>2</td></tr></table>"})
    printed = new_output("stream", text="3\n3\n3\n")
    computed = new_output("display_data", data={"text/markdown": "- It is *four*."})
    beside = [written, *(code("f()", outputs=(output,)) for output in (frame, printed, computed))]
    figure = [code("plot()", outputs=(FIGURE,))]
    _, slide = slides(text("## Results"), *(figure + beside if place == "after" else beside + figure))
    assert [part.name for part in slide.select(".body > *")] == ["figure"]
    left_out = [f"The teacher's notebook has a table of {rows} rows here." for rows in (1, 1, 3)]
    assert said(slide) == " ".join([*left_out, "It is four."])


def test_figure_of_another_section_leaves_a_table_alone() -> None:
    table = text("## A table\n\n| a |\n|---|\n| 1 |")
    found = slides(text("## A figure"), code("plot()", outputs=(FIGURE,)), table)
    assert found[2].table is not None


@pytest.mark.parametrize(("rows", "is_shown"), [(ROWS, True), (ROWS + 1, False)])
def test_without_a_figure_a_short_table_is_shown(rows: int, is_shown: bool) -> None:
    body = "<tr><td>1</td></tr>" * rows
    page = f"<table><thead><tr><th>a</th></tr></thead><tbody>{body}</tbody></table>"
    output = new_output("execute_result", data={"text/html": page})
    cells = text("## T\n\nWords.\n\n" + "| a |\n|---|\n" + "| 1 |\n" * rows), code("f()", outputs=(output,))
    found = slides(*cells)[1:]
    assert sum(len(slide.select("table")) for slide in found) == 2 * is_shown
    assert sum(f"a table of {rows} rows" in said(slide) for slide in found) == 1 - is_shown


def test_table_of_an_exercise_is_shown_however_long() -> None:
    table = "| a |\n|---|\n" + "| 1 |\n" * (ROWS + 1)
    _, slide = slides(text("```{exercise} Sum\n:label: one-sum\nAdd up.\n\n" + table + "```"))
    assert len(slide.select("tr")) == ROWS + 2


def test_picture_of_the_text_is_a_figure() -> None:
    directive = "```{figure} ../book/_static/seen.png\n:alt: Six cats.\n\nSeen by {cite:t}`li2020`.\n```"
    _, slide = slides(text(f"## Seen\n\n{directive}"))
    assert (slide.img["src"], slide.img["alt"]) == ("../book/_static/seen.png", "Six cats.")
    assert slide.figcaption.get_text() == "Seen by Li et al. (2020)."


def test_asides_are_said() -> None:
    aside = "```{admonition} Where this comes from\n:class: provenance\nFrom a paper.\n```"
    warning = "```{warning}\nMind.\n```"
    _, slide = slides(text(f"## Sources\n\n{aside}\n\n{warning}"))
    assert (shown(slide), said(slide)) == ("Warning Mind.", "Where this comes from From a paper.")


def test_html_without_a_table_is_said() -> None:
    output = new_output("display_data", data={"text/html": '<div class="interactive">At <b>epoch</b> 3.</div>'})
    _, slide = slides(text("## Epochs"), code("f()", outputs=(FIGURE, output)))
    assert said(slide) == "At epoch 3."


def test_slides_are_numbered() -> None:
    assert [slide["data-number"] for slide in slides(text("## A\n\nWords."))] == ["1/2", "2/2"]


def test_code_is_hidden_unless_it_is_tagged() -> None:
    _, slide = slides(text("## Code\n\nWords."), code("secret = 1"), code("shown = 2", "slide-code"))
    assert "secret" not in str(slide)
    assert slide.pre.get_text().strip() == "shown = 2"


def test_exercise_is_shown_whole_and_its_solution_never() -> None:
    stub = new_output("stream", text="✗ does not pass yet\nmore\nmore")
    solution = new_output("stream", text="✓ passes\nmore\nmore")
    found = slides(
        text("## Exercises\n\n```{exercise} Double\n:label: one-double\nDouble it.\n\nWhy?\n```"),
        code("def double(x): ...", "stub", outputs=(stub,)),
        text("````{solution-start} one-double\n````", "solution"),
        code("def double(x): return 2 * x", "solution", "slide-code", outputs=(solution,)),
        text("```{solution} one-double\nTwice.\n```"),
    )
    assert [slide.find(["h1", "h2"]).get_text() for slide in found] == ["One & all", "Exercise: Double"]
    assert shown(found[1]) == "Double it. Why?"
    assert not [word for word in ("return 2", "passes", "pass yet", "Twice") if word in str(found)]


def test_long_list_continues_on_another_slide() -> None:
    items = "\n".join(f"{number}. {'word ' * 40}" for number in range(1, 10))
    found = slides(text(f"## Many\n\n{items}"))[1:]
    assert len(found) > 1
    assert all(slide.h2.decode_contents() == "Many" + CONTINUED for slide in found[1:])
    assert sum(len(slide.select("li")) for slide in found) == 9
    first_of_second = 1 + len(found[0].select("li"))
    assert [len(slide.select("ol")) for slide in found] == [1] * len(found)
    assert found[1].ol["start"] == str(first_of_second)


def test_table_of_pandas_loses_its_style() -> None:
    frame = "<div><style scoped>td {color: red}</style><table><tr><td>1</td></tr></table></div>"
    _, slide = slides(text("## T"), code("frame", outputs=(new_output("execute_result", data={"text/html": frame}),)))
    assert slide.style is None
    assert shown(slide) == "1"


def test_scripts_run_in_a_frame_of_their_own() -> None:
    page = '<div id="map"></div><script>draw("map")</script>'
    output = new_output("display_data", data={"text/html": page})
    _, slide = slides(text("## Map"), code("explore()", alt="A map.", outputs=(output,)))
    assert slide.iframe["srcdoc"] == page
    assert slide.iframe["title"] == "A map."
    assert slide.script is None


def test_short_prints_are_said_and_long_ones_shown() -> None:
    short, long = new_output("stream", text="one line\n"), new_output("stream", text="a <b>\nb\nc\n")
    _, slide = slides(text("## Printed"), code("a()", outputs=(short,)), code("b()", outputs=(long,)))
    assert slide.pre.decode_contents() == html.escape("a <b>\nb\nc")
    assert said(slide) == "one line"


def test_markdown_output_is_treated_as_text() -> None:
    output = new_output("display_data", data={"text/markdown": "It holds.\n\n- so {doc}`two`"})
    _, slide = slides(text("## Said"), code("say()", outputs=(output,)))
    assert (shown(slide), said(slide)) == ("so Two", "It holds.")


def test_notes_keep_formulas_as_tex() -> None:
    _, slide = slides(text("## F\n\nLet $x < y$ be so."))
    assert said(slide) == "Let $x < y$ be so."


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [("All is said.", ""), ("First this. Then that:", "Then that:"), ("So we have", "So we have"), ("Is it so?", "")],
)
def test_announcement_is_what_leads_on(paragraph: str, expected: str) -> None:
    assert announcement(paragraph) == expected


def test_sentences_end_where_a_new_one_begins() -> None:
    assert sentences("Of 0.5 e.g. this. **Next** one! $x$ is.") == ["Of 0.5 e.g. this.", "**Next** one!", "$x$ is."]
