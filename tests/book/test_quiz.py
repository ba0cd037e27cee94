"""A quiz is a list of radio buttons, each with its reason; one that cannot be answered is a warning."""

import io
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"
QUIZ = """# Page

```{admonition} How *many*?
:class: quiz
- [ ] not `three` of them :: there are $4$
- [x] four :: it was **counted**
```
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The built page of a text, and the warnings of its build."""

    def build(text: str) -> tuple[BeautifulSoup, str]:
        monkeypatch.syspath_prepend(str(EXTENSIONS))
        (tmp_path / "index.md").write_text(text, encoding="utf-8")
        extensions = {"extensions": ["myst_nb", "quiz"], "nb_execution_mode": "off"}
        settings = extensions | {"myst_enable_extensions": ["dollarmath", "tasklist"]}
        warnings = io.StringIO()
        folders = (tmp_path, None, tmp_path / "built", tmp_path / "doctrees")
        with patch_docutils(), docutils_namespace():
            app = Sphinx(*folders, "html", confoverrides=settings, status=None, warning=warnings)
            app.build()
        return BeautifulSoup((tmp_path / "built" / "index.html").read_text(encoding="utf-8"), "html.parser"), (
            warnings.getvalue()
        )

    return build


def test_each_answer_has_a_button_a_label_and_a_reason(page) -> None:
    soup, warnings = page(QUIZ)
    assert not warnings
    first, second = soup.select(".quiz .quiz-answer")
    assert first.label.get_text() == "not three of them" and second.label.get_text() == "four"
    assert first.select_one(".why.wrong").get_text().startswith("No: there are")
    assert second.select_one(".why.right").get_text() == "Right: it was counted"
    buttons = soup.select(".quiz input[type=radio]")
    assert len({button["name"] for button in buttons}) == 1 and len({button["id"] for button in buttons}) == 2
    assert [button["id"] for button in buttons] == [label["for"] for label in soup.select(".quiz label")]
    assert soup.select_one(".quiz input[type=checkbox]") is None and " :: " not in soup.get_text()


@pytest.mark.parametrize("fault", [("[x]", "[ ]"), ("[ ]", "[x]"), (" :: it was **counted**", "")])
def test_a_quiz_that_cannot_be_answered_is_a_warning(page, fault: tuple[str, str]) -> None:
    assert "a quiz needs one right answer" in page(QUIZ.replace(*fault))[1]


def test_a_list_of_tasks_elsewhere_stays_one(page) -> None:
    soup, warnings = page("# Page\n\n- [ ] to do :: soon\n")
    assert not warnings and soup.select_one("input[type=checkbox]") is not None
