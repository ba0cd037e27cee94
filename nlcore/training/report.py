"""A division in numbers, for the history, and sample by sample, for `samples.csv`."""

from typing import Any

import torch

from nlcore.selection.division import Division, Snapshot


def describe_division(
    division: Division, report: dict[str, Any], labelled_sets: tuple[str, ...], state, snapshot: Snapshot
) -> dict[str, Any]:
    """One epoch's division in numbers, for the history.

    `sets`: size, precision and recall of each. In a set that is trained with labels, precision is the share of right
    targets and recall the share of all rightly given labels that it holds; in a set whose labels are dropped, precision
    is the share of wrong given labels and recall the share of all wrong ones that it holds. `labelled` joins the
    labelled sets and adds F1 and the number of targets of each class. `auroc` and `average_precision` say how well
    `clean_prob` finds the wrong given labels, see `label_order`. Without true labels, all of these are None.
    `verdicts`, of a method that gives them: see `describe_verdicts`.
    """
    given, true = state.given_labels, state.true_labels
    sets = {}
    for number, name in enumerate(division.set_names):
        members = division.membership == number
        sets[name] = {"size": int(members.sum())} | _quality(
            members, name in labelled_sets, division.target, given, true
        )
    labelled = {"size": int(division.labelled.sum())} | _quality(division.labelled, True, division.target, given, true)
    labelled["f1"] = f1_score(labelled["precision"], labelled["recall"])
    labelled["histogram"] = torch.bincount(division.target[division.labelled], minlength=state.num_classes).tolist()
    numbers = {key: value for key, value in report.items() if isinstance(value, int | float | dict)}
    verdicts = describe_verdicts(division, report, snapshot, true)
    return {"sets": sets, "labelled": labelled} | label_order(division.clean_prob, given, true) | verdicts | numbers


def f1_score(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean of two shares; None where one of them is 0 or unknown."""
    return 2 * precision * recall / (precision + recall) if precision and recall else None


def describe_verdicts(
    division: Division, report: dict[str, Any], snapshot: Snapshot, true: torch.Tensor | None
) -> dict[str, Any]:
    """Verdicts on hard samples beside the network's own prediction, at the same coverage: {} without them, or truth.

    `used` verdicts became labels, and so many of them are `right`; of as many predictions, the surest for the samples
    that got a verdict at all, `argmax_right`. `all`, `all_right`, `all_argmax_right`: the same for every verdict.
    """
    if "verdict_share" not in report or true is None:
        return {}
    voted = ~report["verdict_share"].isnan()
    used = voted & (division.membership == division.set_names.index("corrected"))
    confidence, predicted = snapshot.probs.max(1)
    surest = confidence.masked_fill(~voted, -1).topk(int(used.sum())).indices

    def share(right: torch.Tensor) -> float | None:
        return float(right.float().mean()) if len(right) else None

    right, predicted_right = report["verdict_labels"] == true, predicted == true
    numbers = {"used": int(used.sum()), "right": share(right[used]), "argmax_right": share(predicted_right[surest])}
    numbers |= {"all": int(voted.sum()), "all_right": share(right[voted])}
    return {"verdicts": numbers | {"all_argmax_right": share(predicted_right[voted])}}


def label_order(clean_prob: torch.Tensor, given: torch.Tensor, true: torch.Tensor | None) -> dict[str, float | None]:
    """How well a probability (N,) that labels are right finds the wrong ones, in [0, 1].

    `auroc`: chance that a wrong label has a lower one than a right label; `average_precision`: mean precision of
    the most suspicious, over all depths at which one more wrong label is found. None unless there are both kinds.
    """
    wrong = None if true is None else (given != true).cpu()
    if wrong is None or wrong.all() or not wrong.any():
        return {"auroc": None, "average_precision": None}
    from sklearn.metrics import average_precision_score, roc_auc_score

    suspicion = -clean_prob.cpu()
    measures = {"auroc": roc_auc_score, "average_precision": average_precision_score}
    return {name: float(measure(wrong, suspicion)) for name, measure in measures.items()}


def _quality(members, labelled: bool, target, given, true) -> dict[str, float | None]:
    if true is None:
        return {"precision": None, "recall": None}
    right_label = given == true
    found, all_of_them = (
        (members & (target == true), right_label) if labelled else (members & ~right_label, ~right_label)
    )
    size, relevant = int(members.sum()), int(all_of_them.sum())
    return {
        "precision": float(found.sum()) / size if size else None,
        "recall": float((found & all_of_them).sum()) / relevant if relevant else None,
    }


def sample_table(state, snapshot: Snapshot, division: Division) -> dict[str, list]:
    """The columns of `samples.csv`.

    `corrected_label` is the label that the method would now give: the target of a labelled sample, the network's own
    prediction for the others. Unknown true labels are empty. Where classes have names, those of the given and the
    corrected label come last, and with them the names of image files, where there are any.
    """
    corrected = torch.where(division.labelled, division.target, snapshot.logits.argmax(1))
    names = division.set_names
    columns = {
        "index": state.index.tolist(),
        "given_label": state.given_labels.tolist(),
        "true_label": [""] * len(corrected) if state.true_labels is None else state.true_labels.tolist(),
        "set": [names[number] for number in division.membership.tolist()],
        # Six digits, wherever they begin: labels that are surely wrong keep their order too.
        "clean_prob": [float(f"{p:.6g}") for p in division.clean_prob.tolist()],
        "corrected_label": corrected.tolist(),
    }
    if state.class_names != tuple(map(str, range(state.num_classes))):
        for kind in ("given", "corrected"):
            columns[f"{kind}_name"] = [state.class_names[label] for label in columns[f"{kind}_label"]]
    if state.files is not None:
        columns["file"] = [state.files[row] for row in columns["index"]]
    return columns
