"""A whole audit: read, judge, write. What is slow is kept on the way, so that the same command goes on."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlcore.audit.calibration import ISSUE_BELOW
from nlcore.audit.classifier import NoisyLabelClassifier
from nlcore.audit.decisions import apply_decisions, read_decisions
from nlcore.audit.evidence import given_label_prob, require_differences
from nlcore.audit.issues import as_tensor
from nlcore.audit.report import Audit, write_report
from nlcore.audit.source import Source, read_source
from nlcore.basics.errors import InputError
from nlcore.basics.files import locked, save_file, user_path
from nlcore.basics.machine import code_version
from nlcore.data.own import PREFIX

SUMMARY, ISSUES, CLEAN, REPORT, APPLIED = "summary.json", "issues.csv", "clean.csv", "report.html", "labels.csv"
APPLIED_COLUMNS = ["row", "name", "label", "given_label", "decision"]
WORK = ".work"  # features and checkpoints, in the folder of the audit
SURE = 0.8  # probability from which a suggested label replaces the given one in clean.csv
SHOWN = 1000  # samples of a report at most
KEPT, CORRECTED, DOUBTFUL = "kept", "corrected", "doubtful"


def audit(
    data: str,
    out: str | Path,
    method: str = "tssd",
    seed: int = 0,
    options: dict[str, Any] | None = None,
    on_epoch: Callable[[float], object] = lambda share: None,
) -> dict[str, Any]:
    """Judge the labels of data and write four files; returns what is in `summary.json`.

    `issues.csv`: every row, the most suspicious first. `clean.csv`: every row in its order, with sure corrections
    applied. `report.html`: the most suspicious samples, to be looked at and decided. `summary.json`, the last of them.

    Parameters
    ----------
    data : a path or the name of a data set, see `read_source`.
    out : a folder; an audit of the same data that was stopped there goes on, and a finished one is not done again.
    method, seed : see `NoisyLabelClassifier`.
    options : of own data, see `nlcore.data.own.Options`.
    on_epoch : hears what share of the training is done.

    Raises
    ------
    InputError : data that cannot be read or are the same in every row, a folder that holds another audit, other files
        or the data themselves, or cannot be written.
    """
    out = user_path(out)
    source = read_source(data, options or {})
    require_differences(source.dataset.train_images, f"the samples of {source.title}")
    _require_free(out, data, (ISSUES, CLEAN, REPORT, SUMMARY))
    identity = {"data": source.digest, "method": method, "seed": seed, "code": code_version()}
    with locked(out):
        if (done := _stored(out, source.title, identity)) is not None:
            return done
        if foreign := [name for name in (ISSUES, CLEAN, REPORT) if _exists_without_audit(out, name)]:
            raise InputError(f"{out / foreign[0]} is there and is not of an audit; choose another folder")
        work = out / WORK
        save_file(work / "audit.json", json.dumps({"title": source.title} | identity))
        model = NoisyLabelClassifier(method, random_state=seed)
        labels, classes = source.dataset.train_labels, np.array(source.dataset.class_names, dtype=object)
        model.judge(source.inputs(work), labels, classes, on_epoch=on_epoch, folder=work)
        return _written(out, source, model, identity)


def _require_free(out: Path, data: str, written: tuple[str, ...]) -> None:
    """Refuse to write over the data that are read."""
    source = user_path(data.removeprefix(PREFIX))
    for name in written:
        if (out / name).exists() and source.exists() and (out / name).samefile(source):
            raise InputError(f"{out / name} is what is read, and would be written over; choose another folder")


def _exists_without_audit(out: Path, name: str) -> bool:
    """Whether a file has the name of one of ours in a folder in which no audit was begun."""
    return (out / name).exists() and not (out / SUMMARY).exists() and not (out / WORK / "audit.json").exists()


def _stored(out: Path, title: str, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of the same audit, finished; None if it has to be done, or to be gone on with."""
    for name in (SUMMARY, f"{WORK}/audit.json"):
        try:
            stored = json.loads((out / name).read_text(encoding="utf-8"))
            same = all(stored[key] == value for key, value in identity.items() if key != "code")
        except FileNotFoundError:
            continue
        except (KeyError, TypeError) as error:
            raise InputError(f"{out / name} is not of an audit; choose another folder") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{out / name} is damaged; delete it to begin anew, or choose another folder") from error
        if not same:
            raise InputError(
                f"{out} holds an audit of {stored.get('title')} with other data, labels or settings; "
                f"choose another folder for {title}"
            )
        if (
            name == SUMMARY
            and "most_suspicious" in stored
            and all((out / file).exists() for file in (ISSUES, CLEAN, REPORT))
        ):
            return stored
    return None


def _written(out: Path, source: Source, model: NoisyLabelClassifier, identity: dict[str, Any]) -> dict[str, Any]:
    table, labels = model.label_issues_, source.dataset.train_labels
    names, quality = source.dataset.class_names, table["label_quality"].to_numpy()
    number = {name: k for k, name in enumerate(names)}
    predicted = np.array([number[name] for name in table["predicted_label"]])
    done, final = what_to_do(model.opinion_, labels, quality, predicted)
    order = most_suspicious_first(model.opinion_, labels, quality)
    given, issue = labels.numpy(), table["is_label_issue"].to_numpy()

    head = ["row", "name", "given_label", "predicted_label", "label_quality", "is_label_issue"]
    rows = (
        [r, source.names[r], names[given[r]], names[predicted[r]], f"{quality[r]:.6f}", bool(issue[r])]
        for r in order.tolist()
    )
    save_file(out / ISSUES, _csv(head, rows))
    head = ["row", "name", "label", "given_label", "done"]
    rows = ([r, source.names[r], names[final[r]], names[given[r]], done[r]] for r in range(len(given)))
    save_file(out / CLEAN, _csv(head, rows))

    flagged = int(issue.sum())
    confusion = np.zeros((len(names), len(names)))
    np.add.at(confusion, (predicted, given), 1 - quality)
    np.add.at(confusion, (given, given), quality)
    samples = tuple(
        source.sample(row, int(predicted[row]), float(quality[row]), model.neighbours_[row])
        for row in order[: min(SHOWN, max(50, 2 * flagged))].tolist()
    )
    concerns = (*source.concerns(as_tensor(quality)), *model.concerns_)
    counts = torch.bincount(labels, minlength=len(names)).tolist()
    words = (
        "Each label was judged by a linear classifier, by its nearest neighbours and by a network trained with "
        f"{model.method}, none of which had seen it. Errors that are often made are doubted more. Qualities are "
        "calibrated by labels planted wrong on purpose."
    )
    shown = Audit(
        source.title,
        identity["data"],
        names,
        tuple(counts),
        len(given),
        model.wrong_,
        flagged,
        confusion,
        samples,
        words,
        concerns,
    )
    in_report = write_report(out / REPORT, shown, SHOWN)
    summary = (
        {"title": source.title}
        | identity
        | {
            "rows": len(given),
            "classes": list(names),
            "class_counts": counts,
            "wrong": dict(zip(("estimate", "low", "high"), model.wrong_, strict=True)),
            "noise_rate": model.noise_rate_,
            "issues": flagged,
            "corrected": int((done == CORRECTED).sum()),
            "shown_in_report": in_report,
            "concerns": list(concerns),
            "transition_matrix": model.transition_matrix_.round(6).tolist(),
            "most_suspicious": [
                {
                    "row": r,
                    "name": source.names[r],
                    "given_label": names[given[r]],
                    "predicted_label": names[predicted[r]],
                }
                | {"label_quality": round(float(quality[r]), 6)}
                for r in order[:20].tolist()
            ],
        }
    )
    save_file(out / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary


def what_to_do(
    opinion: torch.Tensor, labels: torch.Tensor, quality: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What `clean.csv` does with each label, and the label (N,) that results.

    A label that is more likely wrong than right is `corrected` if the suggested one has a probability of four in five:
    that the given one is wrong, times the share of the suggested one in the opinion on all others. Else it is
    `doubtful` and stays.
    """
    given = labels.numpy()
    rows = np.arange(len(given))
    p = opinion.numpy()
    share = p[rows, predicted] / np.maximum(1 - p[rows, given], 1e-12)
    issue = quality < ISSUE_BELOW
    sure = issue & (predicted != given) & ((1 - quality) * share >= SURE)
    done = np.where(sure, CORRECTED, np.where(issue, DOUBTFUL, KEPT))
    return done, np.where(sure, predicted, given)


def most_suspicious_first(opinion: torch.Tensor, labels: torch.Tensor, quality: np.ndarray) -> np.ndarray:
    """Rows by quality, those of one quality by the probability of the given label."""
    return np.lexsort((given_label_prob(opinion, labels).numpy(), quality))


def apply(data: str, out: str | Path, decisions: str | Path, options: dict[str, Any] | None = None) -> dict[str, int]:
    """Write `labels.csv`: every row with the label that a person decided, or the given one; how many were changed.

    Raises
    ------
    InputError : a table of decisions that cannot be read, or is of other data; a folder that cannot be written, or in
        which `labels.csv` is another's.
    """
    out = user_path(out)
    source = read_source(data, options or {})
    _require_free(out, data, (APPLIED,))
    _require_own(out / APPLIED)
    names = source.dataset.class_names
    given = [names[k] for k in source.dataset.train_labels.tolist()]
    found = read_decisions(decisions, names)
    decided = {decision.row: decision.decision for decision in found}
    labels = apply_decisions(found, given, source.names)
    rows = ([row, source.names[row], label, given[row], decided.get(row, "")] for row, label in enumerate(labels))
    save_file(out / APPLIED, _csv(APPLIED_COLUMNS, rows))
    changed = sum(label != before for label, before in zip(labels, given, strict=True))
    return {"rows": len(given), "decisions": len(decided), "changed": changed}


def _require_own(path: Path) -> None:
    """Refuse to write over a table that is not one of decided labels."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline().rstrip("\n")
    except OSError:
        return  # there is none, or whoever writes it says why it cannot be written
    if first != ",".join(APPLIED_COLUMNS):
        raise InputError(f"{path} is there and was not written by --apply; choose another folder")


def _csv(head: list[str], rows) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
