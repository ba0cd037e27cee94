import json
import shutil
import subprocess
from importlib.resources import files

import pytest

from nlcore.audit.decisions import Decision, apply_decisions, read_decisions
from nlcore.basics.errors import InputError

CLASSES = ("cat", "dog", "=cmd|'/C calc'!A0", "'-1", "a,b", 'say "hi"', "two\r\nlines", "Größe €", "a;b")
HEAD = "row,name,given_label,decision,label"
NODE = shutil.which("node")


@pytest.fixture
def written(tmp_path):
    """`written(text, encoding)`: the path of a file of decisions."""

    def write(text: str, encoding: str = "utf-8"):
        path = tmp_path / "decisions.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def labels(path) -> list[tuple[int, str, str]]:
    return [(decision.row, decision.decision, decision.label) for decision in read_decisions(path, CLASSES)]


def said(path) -> str:
    with pytest.raises(InputError) as error:
        read_decisions(path, CLASSES)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_each_decision_says_what_the_label_is_to_be(written):
    text = f"{HEAD}\n4,d.png,cat,keep,cat\n5,e.png,cat,keep,\n1,a.png,cat,accept,dog\n2,b.png,dog,other,cat\n"
    text += "3,c.png,dog,unsure,\n0,f.png,dog,other,wolf\n"
    found = read_decisions(written(text), CLASSES)
    assert found[0] == Decision(4, "d.png", "cat", "keep", "cat")
    assert [decision.label for decision in found] == ["cat", "cat", "dog", "cat", "dog", "wolf"]
    given = ["dog", "cat", "dog", "dog", "cat", "cat", "cat"]
    assert apply_decisions(found, given) == ["wolf", "dog", "cat", "dog", "cat", "cat", "cat"]
    assert given[0] == "dog"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_a_spreadsheet_makes_of_the_file_is_read(written, encoding, delimiter, end):
    lines = [
        HEAD.replace(",", delimiter),
        delimiter.join(["7", '"x,;y"', "Größe €", "Accept", "dog"]),
        delimiter * 4,
        "",
    ]
    assert labels(written(end.join(lines), encoding)) == [(7, "accept", "dog")]


def test_columns_may_stand_in_any_order_beside_others(written):
    assert labels(written("Label,note,decision,GIVEN_LABEL,name,row\ndog,hm,accept,cat,a, 3 \n")) == [
        (3, "accept", "dog")
    ]


def test_a_cell_behind_an_apostrophe_is_no_formula_and_no_other_label(written):
    text = f"{HEAD}\n1,'=a.png,'=cmd|'/C calc'!A0,accept,''-1\n2,b,=cmd|'/C calc'!A0,keep,\n"
    first, second = read_decisions(written(text), CLASSES)
    assert (first.name, first.given, first.label) == ("=a.png", "=cmd|'/C calc'!A0", "'-1")
    assert second.label == "=cmd|'/C calc'!A0"


def test_the_same_decision_twice_counts_once(written):
    assert labels(written(f"{HEAD}\n1,a,cat,accept,dog\n1,a,cat,accept,dog\n")) == [(1, "accept", "dog")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1,a,cat,accept,dog\n1,a,cat,keep,cat", "row 1 has two decisions, accept 'dog' and keep 'cat'"),
        ("1,a,cat,accept,wolf", "line 2: there is no class 'wolf'; a new class needs the decision other"),
        ("1,a,cat,other,Dog ", "line 2: there is no class 'Dog ', but 'dog'"),
        ("1,a,wolf,keep,wolf", "line 2: the given label 'wolf' is no class of this data set"),
        ("1,a,cat,keep,dog", "keep keeps 'cat', and the label is 'dog'"),
        ("1,a,cat,accept,", "accept needs a label"),
        ("1,a,cat,other, ", "other needs a label"),
        ("1,a,cat,delete,", "the decision is one of keep, accept, other, unsure, not 'delete'"),
        ("-1,a,cat,keep,", "a row is a whole number, from 0, not '-1'"),
        ("1.5,a,cat,keep,", "not '1.5'"),
        (f"{'9' * 5000},a,cat,keep,", "a row is a whole number"),
        ("1", "line 2: the decision is one of"),
        ('1,"a,cat,keep,', "line 2 is no line of a table"),
    ],
)
def test_a_line_that_is_no_decision_is_named(written, lines, message):
    assert message in said(written(f"{HEAD}\n{lines}\n"))


@pytest.mark.parametrize("text", ["", "\n", "row,name,decision,label\n1,a,keep,cat\n", "\x00\x01\x02"])
def test_a_table_of_something_else_is_refused(written, text):
    assert "has no column" in said(written(text))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert "nowhere.csv: No such file" in said(tmp_path / "nowhere.csv")
    assert "directory" in said(tmp_path)


def test_decisions_on_other_data_are_refused():
    decision = Decision(2, "a", "cat", "accept", "dog")
    with pytest.raises(InputError, match="row 2, and the data set has 2 rows"):
        apply_decisions([decision], ["cat", "cat"])
    with pytest.raises(InputError, match="row 2 has the label 'dog', and the decision on it was about 'cat'"):
        apply_decisions([decision], ["cat", "cat", "dog"])
    with pytest.raises(InputError, match="row 2 is c, and the decision on it was about a"):
        apply_decisions([decision], ["cat", "cat", "cat"], ["a", "b", "c"])
    assert apply_decisions([decision], ["cat", "cat", "cat"], ["c", "b", "a"]) == ["cat", "cat", "dog"]


def test_two_people_who_disagree_are_not_both_followed():
    both = [Decision(0, "a", "cat", "accept", "dog"), Decision(0, "a", "cat", "keep", "cat")]
    with pytest.raises(InputError, match="row 0 has two decisions"):
        apply_decisions(both, ["cat"])


# --- the page writes what is read here, and reads the same ------------------------------------------------------------


def in_node(expression: str, given) -> object:
    code = files("nlcore.audit").joinpath("decisions.js").read_text("utf-8")
    code += "\nconst given = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
    code += f"\nconsole.log(JSON.stringify({expression}));"
    done = subprocess.run([NODE, "-e", code], input=json.dumps(given), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def records() -> list[dict]:
    names = ["plain.png", "=1+1", "+x", "@x", "'=x", "''-", "\ttab", 'q"u,o;te', "two\nlines", "ünï—код"]
    made = []
    for row, name in enumerate(names):
        given, label = CLASSES[row % len(CLASSES)], CLASSES[(row + 1) % len(CLASSES)]
        made.append({"row": row, "name": name, "given_label": given, "decision": "accept", "label": label})
    return [*made, {"row": 10, "name": "n", "given_label": "cat", "decision": "other", "label": "-new"}]


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_python_and_the_page_read_what_the_page_writes(written):
    text = in_node("toCsv(given)", records())
    assert not any(cell.lstrip('"').startswith(("=", "+", "-", "@")) for cell in text.split(","))
    expected = [(r["row"], r["name"], r["given_label"], r["decision"], r["label"]) for r in records()]
    found = read_decisions(written(text), CLASSES)
    assert [(d.row, d.name, d.given, d.decision, d.label) for d in found] == expected
    assert [tuple(line.values()) for line in in_node("fromCsv(given)", text)] == [
        (str(row), *r) for row, *r in expected
    ]


@pytest.mark.skipif(NODE is None, reason="there is no node")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_page_reads_what_a_spreadsheet_makes_of_the_file(encoding):
    text = "row;name;given_label;decision;label\r\n7;x;Größe;accept;dog\r\n;;;;\r\n"
    got = in_node("fromCsv(decoded(Uint8Array.from(given)))", list(text.encode(encoding)))
    assert got == [{"row": "7", "name": "x", "given_label": "Größe", "decision": "accept", "label": "dog"}]


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_the_page_refuses_decisions_on_other_data():
    data = {"rows": 9, "classes": ["cat", "dog"], "samples": [{"row": 3, "given": 0}]}
    line = {"row": "3", "name": "a", "given_label": "cat", "decision": "accept", "label": "dog"}
    bad = [{"given_label": "dog"}, {"row": "9"}, {"row": "x"}, {"decision": "drop"}, {"label": ""}, {"label": "wolf"}]
    tried = [[line], [line, line], [line | {"row": "5", "given_label": "dog"}], [line, line | {"decision": "keep"}]]
    tried += [[line | change] for change in bad]
    code = "given[1].map((lines) => { try { return checked(lines, given[0]).length } catch (e) { return e.message } })"
    got = in_node(code, [data, tried])
    assert got[:3] == [1, 1, 1] and all(isinstance(answer, str) for answer in got[3:])
    assert "two decisions" in got[3] and "other data" in got[4]


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_a_browser_that_refuses_to_keep_decisions_does_not_lose_them():
    record = records()[0]
    data = {"title": "t", "digest": "d", "rows": 99, "classes": CLASSES, "samples": []}
    refusing = "{ getItem() { throw new Error('no') }, setItem() { throw new Error('full') } }"
    for storage in ("null", refusing):
        code = f"((s) => {{ s.set([given[1]]); return [s.kept, s.records().length] }})(makeStore(given[0], {storage}))"
        assert in_node(code, [data, record]) == [False, 1]


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_what_was_decided_at_once_is_undone_at_once_and_remembered():
    data = {"title": "t", "digest": "d", "rows": 99, "classes": CLASSES, "samples": []}
    code = """(() => {
      const held = new Map(), storage = { getItem: (k) => held.get(k) ?? null, setItem: (k, v) => held.set(k, v) };
      const store = makeStore(given[0], storage), sizes = [];
      const count = () => sizes.push([store.records().length, makeStore(given[0], storage).records().length]);
      store.set([given[1][0]]); count();
      store.set(given[1].slice(0, 3)); count();
      store.undo(); count();
      store.undo(); count();
      return [sizes, store.undo(), makeStore({ ...given[0], digest: "e" }, storage).records().length];
    })()"""
    assert in_node(code, [data, records()]) == [[[1, 1], [3, 3], [1, 1], [0, 0]], None, 0]
