"""What a person decided in the report of an audit, read from the `decisions.csv` that the report saves.

Its columns are `row,name,given_label,decision,label`, its decisions

    keep      the given label is right; `label` is that label, or empty
    accept    `label`, the suggestion, is right; it is a class of the data set
    other     `label` is right, a class of the data set or a new one
    unsure    nobody knows; the given label stays

A new class is what a person may find to be missing, so `other` may bring one. One that differs from a class of the data
set by nothing but case or spaces is refused, for that is a slip.

Excel and its kin may have had the file in between: comma, semicolon or tab, any line ends, with or without a byte order
mark, UTF-8, UTF-16 or Windows-1252. A cell that a spreadsheet would take for a formula stands behind an apostrophe, as
the report writes it; the apostrophe is taken off here.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nlcore.basics.errors import InputError, first_line
from nlcore.basics.files import user_path

COLUMNS = ("row", "name", "given_label", "decision", "label")
DECISIONS = ("keep", "accept", "other", "unsure")
GUARDED = re.compile(r"'+[=+\-@\t\r]")  # a formula behind an apostrophe, or behind more of them if the cell had some
MOST_ROW = 15  # digits of a row: a longer number is none


@dataclass(frozen=True)
class Decision:
    """A decision on one row.

    Attributes
    ----------
    row : row of the data set, from 0.
    given : the label that the row has in the data set.
    decision : one of `DECISIONS`.
    label : the label that it is to have.
    """

    row: int
    name: str
    given: str
    decision: str
    label: str


def read_decisions(path: str | Path, class_names: Sequence[str]) -> list[Decision]:
    """The decisions in a file, in its order; one that stands there twice counts once.

    Raises
    ------
    InputError : no such file, not a table, a column that is missing, a row that is no number, an unknown decision or
        class, no label where one is needed, two different decisions on one row: one line that says where.
    """
    path = user_path(path)
    table = _table(path)
    classes = {_plain(name): name for name in class_names} | {name: name for name in class_names}
    return _once([_decision(cells, f"{path}, line {line}", classes) for line, cells in table], str(path))


def apply_decisions(
    decisions: Sequence[Decision], given_names: Sequence[str], names: Sequence[str] | None = None
) -> list[str]:
    """The labels after the decisions, in the order of the data set; those without a decision stay.

    given_names : the label of each sample. names : what each is called, its file for example, None = not compared.

    Raises
    ------
    InputError : a row that the data set does not have, or has with another label or name: these are decisions on other
        data; two different decisions on one row.
    """
    labels = list(given_names)
    for decision in _once(decisions, "the decisions"):
        if decision.row >= len(labels):
            raise InputError(
                f"there is a decision on row {decision.row}, and the data set has {len(labels)} rows, from 0; "
                "these are decisions on other data"
            )
        if (found := given_names[decision.row]) != decision.given:
            raise InputError(
                f"row {decision.row} has the label {found!r}, and the decision on it was about {decision.given!r}; "
                "these are decisions on other data, or the labels have been changed since"
            )
        if names is not None and decision.name.strip() not in ("", names[decision.row].strip()):
            raise InputError(
                f"row {decision.row} is {names[decision.row]}, and the decision on it was about {decision.name}; "
                "these are decisions on other data"
            )
        labels[decision.row] = decision.label
    return labels


def _table(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The lines of a table, each with its number in the file, from 1; empty ones are left out."""
    text = _decoded(path)
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    delimiter = max(",;\t", key=head.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in next(lines, [])]
        if missing := [name for name in COLUMNS if name not in names]:
            raise InputError(f"{path} has no column {', '.join(missing)}; decisions have {','.join(COLUMNS)}")
        found = []
        for cells in lines:
            if any(cells):
                cells += [""] * (len(names) - len(cells))  # a spreadsheet leaves out empty cells at the end
                found.append((lines.line_num, dict(zip(names, map(_unguarded, cells), strict=False))))
        return found
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num} is no line of a table: {first_line(error)}") from error


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")  # a label that is read wrongly is not that of the data, and is found


def _unguarded(cell: str) -> str:
    return cell[1:] if GUARDED.match(cell) else cell


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def _decision(cells: dict[str, str], where: str, classes: dict[str, str]) -> Decision:
    """One line of the table. `classes` has every class under its name, and under its name in plain letters."""
    row, decision, given, label = (cells[name] for name in ("row", "decision", "given_label", "label"))
    if not re.fullmatch(rf"[0-9]{{1,{MOST_ROW}}}", row.strip()):
        raise InputError(f"{where}: a row is a whole number, from 0, not {row!r}")
    decision = decision.strip().lower()
    if decision not in DECISIONS:
        raise InputError(f"{where}: the decision is one of {', '.join(DECISIONS)}, not {decision!r}")
    if classes.get(given) != given:
        raise InputError(f"{where}: the given label {given!r} is no class of this data set")
    if decision == "unsure" or (decision == "keep" and not label):
        label = given
    if decision == "keep" and label != given:
        raise InputError(f"{where}: keep keeps {given!r}, and the label is {label!r}; accept or other changes it")
    if not label.strip():
        raise InputError(f"{where}: {decision} needs a label")
    if classes.get(label) != label:
        if near := classes.get(_plain(label)):
            raise InputError(f"{where}: there is no class {label!r}, but {near!r}")
        if decision == "accept":
            raise InputError(f"{where}: there is no class {label!r}; a new class needs the decision other")
        label = label.strip()
        if not label.isprintable():
            raise InputError(f"{where}: {label!r} has characters that cannot be seen; no class has")
    return Decision(int(row), cells["name"], given, decision, label)


def _once(decisions: Sequence[Decision], where: str) -> list[Decision]:
    """Without repetitions; an `InputError` for two decisions on one row that differ."""
    kept: dict[int, Decision] = {}
    for decision in decisions:
        before = kept.setdefault(decision.row, decision)
        if (before.decision, before.label, before.given) != (decision.decision, decision.label, decision.given):
            raise InputError(
                f"{where}: row {decision.row} has two decisions, {before.decision} {before.label!r} "
                f"and {decision.decision} {decision.label!r}"
            )
    return list(kept.values())
