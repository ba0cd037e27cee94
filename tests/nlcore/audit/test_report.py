import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from bs4 import BeautifulSoup

from nlcore.audit.decisions import read_decisions
from nlcore.audit.report import MOST_PAIRS, MOST_TEXT, Audit, Sample, report, summary, write_report
from nlcore.basics.errors import InputError

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
EVIL = "</script><img src=x onerror=\"document.title='broken'\">"
CLASSES = ("ant", "bee", EVIL, "=1+1")


def sample(row: int, given: int = 0, suggested: int = 1, quality: float = 0.1, **more) -> Sample:
    return Sample(row, more.pop("name", f"row {row}"), given, suggested, quality, ((suggested, 4), (given, 1)), **more)


def audit(samples=(), classes=CLASSES, **more) -> Audit:
    k = len(classes)
    confusion = np.full((k, k), 0.2) + 30 * np.eye(k)
    confusion[1, 0], confusion[0, 2] = 5.4, 2.0
    kept = dict(title="my <b>data</b>", digest="d1", class_names=classes, class_counts=(30,) * k, rows=1200)
    kept |= dict(wrong=(118.2, 96.4, 141.6), flagged=110, confusion=confusion, samples=tuple(samples))
    return Audit(**kept | dict(method="Judged <i>so</i>.") | more)


def data_of(content: bytes) -> dict:
    return json.loads(BeautifulSoup(content, "lxml").select_one("#data").string)


# --- what is in the file ----------------------------------------------------------------------------------------------


def test_every_sample_is_in_the_page_as_it_was_judged(tmp_path):
    path = tmp_path / "new" / "report.html"
    values = (("width", 1.23456789, -3.25), ("height", np.nan, np.inf))
    made = [sample(7, 0, 1, 0.0123456, values=values), sample(3, 2, 0, 0.9, text="a <b>text</b>", name="x/é.txt")]
    assert write_report(path, audit(made)) == 2
    data = data_of(path.read_bytes())
    first, second = data["samples"]
    assert first["values"] == [["width", 1.23457, -3.25], ["height", None, None]]
    judged = {"row": 7, "name": "row 7", "given": 0, "suggested": 1, "quality": 0.0123, "neighbours": [[1, 4], [0, 1]]}
    assert {name: first[name] for name in judged} == judged and "text" not in first and "picture" not in first
    assert (second["text"], second["cut"], second["name"]) == ("a <b>text</b>", 0, "x/é.txt")
    assert (data["classes"], data["counts"], data["rows"]) == (list(CLASSES), [30] * 4, 1200)
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_numbers_of_numpy_are_numbers(tmp_path):
    made = Sample(np.int64(1), "a", np.int64(0), np.int64(1), np.float32(0.25), ((np.int64(1), np.int64(3)),))
    assert data_of(report(audit([made]))[0])["samples"][0]["neighbours"] == [[1, 3]]


def test_long_texts_and_many_neighbours_are_cut_and_it_is_said_by_how_much():
    made = replace(sample(0, text="é" * 5000), neighbours=tuple((k, 20 - k) for k in range(9)))
    (packed,) = data_of(report(audit([made]))[0])["samples"]
    assert len(packed["text"]) == MOST_TEXT and packed["cut"] == 5000 - MOST_TEXT
    assert packed["neighbours"][-1] == [-1, 14 + 13 + 12] and len(packed["neighbours"]) == 7


def test_the_page_shows_the_most_suspicious_and_says_so():
    content, shown = report(audit([sample(row) for row in range(50)]), most=20)
    assert shown == 20 and [s["row"] for s in data_of(content)["samples"]] == list(range(20))
    assert "the 20 most suspicious samples; the other 1,180 are not on it" in content.decode()


@pytest.mark.parametrize("kind", ["pictures", "texts", "names"])
def test_a_page_keeps_to_its_budget_by_showing_fewer(kind):
    rng = np.random.default_rng(0)
    if kind == "pictures":
        made = [sample(row, picture=rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for row in range(40)]
    elif kind == "texts":
        made = [sample(row, text="<字" * (900 + row)) for row in range(40)]
    else:
        made = [sample(row, name=f"{row}/" * 2000) for row in range(40)]
    budget = 200_000
    content, shown = report(audit(made), budget=budget)
    more, _ = report(audit(made), most=shown + 1)
    assert 3 < shown < 40 and len(content) <= budget < len(more) + 200


def test_a_page_without_room_for_a_sample_is_a_page():
    content, shown = report(audit([sample(0, name="x" * 10**5)]), budget=90_000)
    assert shown == 0 and b"The samples are too large to be shown" in content


def test_too_many_classes_are_refused_in_one_line():
    with pytest.raises(InputError, match="2000 classes are too many for a report of 60,000 bytes"):
        report(audit(classes=tuple(f"class {k:09}" for k in range(2000))), budget=60_000)


def test_pairs_are_those_that_are_frequent_or_shown_the_most_frequent_first():
    data = data_of(report(audit([sample(0, 3, 1), sample(1, 0, 0)]))[0])
    assert data["pairs"] == [[0, 1, 5.4], [2, 0, 2.0], [3, 1, 0.2]] and data["pairsLeft"] == 0
    assert data["matrix"][1][0] == 5.4 and data["matrix"][0][0] == 30.2


def test_many_classes_have_a_list_that_is_cut_and_no_matrix():
    confusion = np.arange(900.0).reshape(30, 30) + 1
    data = data_of(report(audit([sample(0, 1, 0)], tuple(map(str, range(30))), confusion=confusion))[0])
    pairs = [(g, t) for t in range(30) for g in range(30) if g != t]
    expected = sorted(pairs, key=lambda pair: -confusion[pair[1], pair[0]])[:MOST_PAIRS]
    assert [tuple(pair[:2]) for pair in data["pairs"]] == [*expected, (1, 0)]
    assert data["matrix"] is None and data["pairsLeft"] == len(pairs) - MOST_PAIRS - 1


def test_the_beginning_says_how_many_and_how_sure_in_words_and_escapes_them():
    made = audit([sample(0)], concerns=("7 samples <i>occur</i> twice.",))
    text = summary(made, 1)
    words = BeautifulSoup(text, "lxml").get_text(" ")
    assert "About 118 of 1,200 labels are probably wrong" in words
    assert "9.8 %" in words and "between 96 and 142" in words and "110 are called an issue" in words
    assert (
        "Judged <i>so</i>." in words and "7 samples <i>occur</i> twice." in words and "Before you trust this" in words
    )
    assert "Before you trust this" not in summary(audit(), 0)


def test_clean_data_are_said_to_be_clean():
    words = summary(audit(wrong=(0.3, 0.0, 2.2), flagged=0), 0)
    assert "Fewer than one of 1,200 labels is probably wrong" in words and "No label is more likely wrong" in words
    assert "No sample is suspicious enough" in words


# --- what a person sees and does --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path):
    """`opened(audit, script, **context)`: its report in a fresh profile. No script may fail, nothing be asked for."""
    problems, contexts = [], []

    def start(made: Audit, script: str = "", **options):
        path = tmp_path / "report.html"
        write_report(path, made)
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        if script:
            page.add_init_script(script)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on(
            "request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or problems.append(asked.url)
        )
        page.goto(path.as_uri())
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def made() -> Audit:
    """Six samples of all kinds."""
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    samples = [sample(9, 0, 1, 0.02, picture=picture, name=f"pictures/{EVIL}"), sample(2, 2, 0, 0.1, text=EVIL)]
    samples += [sample(4, 3, 2, 0.2, values=((EVIL, 1.5, -4.0),)), sample(5, 0, 1, 0.3), sample(6, 1, 1, 0.6)]
    return audit([*samples, sample(8, 0, 3, 0.7)], concerns=("1 label is odd.",))


def saved(page, tmp_path, classes=CLASSES) -> list[tuple[int, str, str]]:
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "decisions.csv")
    return [(d.row, d.decision, d.label) for d in read_decisions(tmp_path / "decisions.csv", classes)]


def test_names_of_classes_and_files_are_text(opened, made):
    page = opened(made)
    for _ in range(6):
        assert page.locator("#card img").count() == ("Picture of" in page.inner_html("#card"))
        page.keyboard.press("j")
    assert page.title() == "Label audit: my <b>data</b>" and page.locator("img[onerror]").count() == 0
    assert f"pictures/{EVIL}" in page.text_content("#strip") and EVIL in page.text_content("#matrix")


def test_keys_decide_and_the_file_says_it_by_name(opened, made, tmp_path):
    page = opened(made)
    page.keyboard.press("a")  # row 9: bee
    page.keyboard.press("g")  # row 2 stays
    page.keyboard.press("u")  # row 4
    page.keyboard.press("o")  # row 5
    page.keyboard.type("wolf")
    page.keyboard.press("Enter")
    page.keyboard.press("a")  # row 6: the suggestion is the given label, so there is nothing to accept
    page.keyboard.press("ArrowRight")
    page.keyboard.press("o")  # row 8: the suggestion, chosen from the list
    page.keyboard.type("=1")
    page.keyboard.press("Enter")
    assert page.inner_text("#progress") == "5 of 6 decided"
    assert "You judged 4 labels: 3 were wrong, 3 were promised. You were unsure of 1." in page.inner_text("#estimate")
    expected = [
        (2, "keep", EVIL),
        (4, "unsure", "=1+1"),
        (5, "other", "wolf"),
        (8, "accept", "=1+1"),
        (9, "accept", "bee"),
    ]
    assert saved(page, tmp_path) == expected


def test_buttons_do_what_the_keys_do_and_undo_takes_it_back(opened, made):
    page = opened(made)
    page.click("#accept")
    page.click("#next")
    page.click("#previous")
    page.click("#keep")
    assert page.inner_text("#progress") == "2 of 6 decided"
    page.click("#undo")
    assert page.inner_text("#card h3") == "row 2" and "Not decided" in page.inner_text("#card")
    page.keyboard.press("z")
    assert page.inner_text("#progress") == "0 of 6 decided" and page.is_disabled("#undo")


def test_decisions_outlive_the_page_and_are_not_those_of_other_data(opened, made):
    page = opened(made)
    page.keyboard.press("a")
    page.reload()
    assert page.inner_text("#progress") == "1 of 6 decided"
    page.evaluate("localStorage.setItem([...Object.keys(localStorage)][0].replace('d1', 'd2'), 'broken')")
    write_report_again = replace(made, digest="d2")
    path = page.url.removeprefix("file://")
    with open(path, "wb") as file:
        file.write(report(write_report_again)[0])
    page.reload()
    assert page.inner_text("#progress") == "0 of 6 decided"


def test_the_page_works_where_the_browser_keeps_nothing(opened, made, tmp_path):
    refuse = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"
    )
    page = opened(made, refuse)
    page.keyboard.press("a")
    assert "save them before you close" in page.inner_text("#memory")
    assert saved(page, tmp_path) == [(9, "accept", "bee")]


def test_saved_decisions_can_be_loaded_and_those_on_other_data_cannot(opened, made, tmp_path):
    page = opened(made)
    page.keyboard.press("a")
    saved(page, tmp_path)
    page.keyboard.press("z")
    page.set_input_files("#file", tmp_path / "decisions.csv")
    page.locator("#status", has_text="Loaded 1 decision from").wait_for()
    assert page.inner_text("#progress") == "1 of 6 decided"
    (tmp_path / "other.csv").write_text("row;name;given_label;decision;label\n9;x;bee;keep;bee\n")
    page.set_input_files("#file", tmp_path / "other.csv")
    page.locator("#status", has_text="was not loaded").wait_for()
    assert "decisions on other data" in page.inner_text("#status") and page.inner_text("#progress") == "1 of 6 decided"


def test_a_pair_filters_the_samples_in_the_list_and_in_the_matrix(opened, made):
    page = opened(made)
    page.click("#pairs button >> nth=0")
    assert page.locator("#strip li").count() == 2 and page.input_value("#pair") == "0>1"
    assert page.locator("#matrix [aria-pressed='true']").count() == 1
    page.check("#undecided")
    page.keyboard.press("a")
    assert page.locator("#strip li").count() == 1 and page.inner_text("#card h3") == "row 5"
    page.keyboard.press("a")
    assert "No sample passes" in page.inner_text("#card") and page.is_disabled("#keep")
    page.keyboard.press("z")
    assert page.inner_text("#card h3") == "row 5"


def test_keys_rest_while_somebody_types_and_when_they_are_switched_off(opened, made):
    page = opened(made)
    page.keyboard.press("o")
    page.keyboard.type("gaz")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+a")
    page.focus("#pair")
    page.keyboard.press("a")
    page.uncheck("#keys")
    page.keyboard.press("a")
    assert page.inner_text("#progress") == "0 of 6 decided"


def test_a_hundred_classes_can_be_searched(opened, tmp_path):
    names = tuple(f"topic {k}" for k in range(100))
    page = opened(audit([sample(0)], names))
    page.keyboard.press("o")
    assert page.inner_text("#choice-list li >> nth=0") == "topic 1 (suggested)"
    page.keyboard.type("TOPIC 7")
    assert page.locator("#choice-list li").count() == 11  # 7, 70, ..., 79: no new class, for there is a topic 7
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert saved(page, tmp_path, names) == [(0, "other", "topic 70")]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_is_accessible_and_fits_a_phone(opened, made, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(made, color_scheme=scheme, viewport={"width": width, "height": 844})
    for key in ("a", "j", "o"):  # a picture, decided; a text; values; the dialog
        found = axe.Axe().run(page).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
        page.keyboard.press(key)
    assert axe.Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = """[...document.querySelectorAll("body *")].filter((e) => e.offsetParent
      && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
      .map((e) => parseFloat(getComputedStyle(e).fontSize))"""
    assert min(page.evaluate(sizes)) >= 13


def test_no_samples_is_a_page_without_a_gallery(opened):
    page = opened(audit())
    assert not page.is_visible("#review") and page.is_visible("header .lead")
    assert not re.search("NaN|undefined", page.inner_text("body"))
