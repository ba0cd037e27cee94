"""The rows of TSSD (arXiv 2404.10499): what it claims, and the experiment that decides each claim."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch

from benchmark.claims.lab import (
    CLEAN,
    FEATURES,
    GLYPHS,
    NOISES,
    Lab,
    Numbers,
    Warm,
    cells,
    epoch_seconds,
    generator,
    percent,
)
from nlcore.methods import dividemix, tssd
from nlcore.selection.purification import (
    fit_meta_classifier,
    likely_other_label,
    meta_features,
    purification_score,
    random_other_label,
)
from nlcore.selection.streams import class_means
from nlcore.selection.voting import estimate_transition
from nlcore.study.comparisons import roc_auc
from nlcore.training.config import TrainConfig
from nlcore.training.observe import observe
from nlcore.training.result import Result
from nlcore.training.run import prepare, train
from nlcore.training.state import start

PRESETS = tssd.PRESETS


def quality(labelled: torch.Tensor, right: torch.Tensor) -> dict[str, float]:
    """Precision, recall and F1 in per cent of labelled samples (N,) bool, against right labels (N,) bool."""
    found, size, all_right = (float(x.sum()) for x in (labelled & right, labelled, right))
    precision, recall = found / max(1.0, size), found / max(1.0, all_right)
    f1 = 2 * precision * recall / max(1e-12, precision + recall)
    return {"precision": 100 * precision, "recall": 100 * recall, "F1": 100 * f1}


def beside(lab: Lab, seed: int, method: str, others: tuple[str, ...]) -> Numbers:
    """Accuracies of a method and of others in the arena's cells, where it and one of them have been run."""
    cells = lab.arena(seed, (method, *others))
    return {name: cell for name, cell in cells.items() if method in cell and len(cell) > 1}


def t1(lab: Lab, seed: int) -> Numbers:
    return beside(lab, seed, "tssd", ("ce", "dividemix"))


def t2(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, cell in beside(lab, seed, "tssd", ("dividemix",)).items():
        where, _, noise = name.partition(", ")
        if noise.startswith("symmetric "):
            rate = noise.removeprefix("symmetric ")
            row = found.setdefault(f"{where}, symmetric", {})
            row |= {f"{method} at {rate}": accuracy for method, accuracy in cell.items()}
            row[f"gain at {rate}"] = cell["tssd"] - cell["dividemix"]
    return found


def t3(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(FEATURES, seed).items():
        warm = lab.warm(config)
        p_loss, p_feature, _, _ = tssd.psd(warm.snapshot, warm.given, PRESETS["paper"])
        found[name] = streams(p_loss, p_feature, warm.right)
    return found


def streams(p_loss: torch.Tensor, p_feature: torch.Tensor, right: torch.Tensor) -> dict[str, float | None]:
    """What each stream adds to the other: p_loss, p_feature (N,) probabilities, right (N,) bool."""
    by_loss, by_feature = p_loss > 0.5, p_feature > 0.5
    missed = right & ~by_loss, right & ~by_feature
    return {
        "AUC of loss": 100 * roc_auc(p_loss, right),
        "AUC of feature": 100 * roc_auc(p_feature, right),
        "AUC of both": 100 * roc_auc((p_loss + p_feature) / 2, right),
        "right kept by feature where loss says wrong": percent(by_feature[missed[0]]),
        "wrong kept by feature where loss says wrong": percent(by_feature[~right & ~by_loss]),
        "right kept by loss where feature says wrong": percent(by_loss[missed[1]]),
        "wrong kept by loss where feature says wrong": percent(by_loss[~right & ~by_feature]),
        "right missed by loss": percent(~by_loss[right]),
        "right missed by feature": percent(~by_feature[right]),
        "right missed by both": percent((~by_loss & ~by_feature)[right]),
    }


def t4(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    clean = {"no noise": CLEAN}
    for name, config in (cells(GLYPHS, seed, **clean) | cells(FEATURES, seed, **clean)).items():
        warm = lab.warm(config)
        row = found[name] = {}
        for preset, settings in PRESETS.items():
            chance = generator(seed, f"T4 {preset}")
            division, _ = tssd.divide(warm.snapshot, warm.given, None, settings, {}, chance)
            row[f"{preset}: certain positives"] = percent(division.membership == 0)
            row[f"{preset}: certain negatives"] = percent(division.membership == 2)
            row[f"{preset}: labelled"] = percent(division.labelled)
        one = dividemix.divide(warm.snapshot, warm.given, None, dividemix.PRESETS["paper"], {}, None)[0]
        row["dividemix: labelled"] = percent(one.labelled)
    return found


def t5(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(FEATURES, seed).items():
        warm = lab.warm(config)
        found[name] = {}
        for preset, settings in PRESETS.items():
            mined = mining(warm, settings, generator(seed, f"T5 {preset}"))
            found[name] |= {f"{preset}: {what}": value for what, value in mined.items()}
    return found


def mining(warm: Warm, config: tssd.TSSDConfig, chance: torch.Generator) -> dict[str, float | None]:
    """Precision, in per cent, of what is mined from the uncertain samples: by the meta classifier, by one without the
    feature space, and at random, each the same number; and their AUC."""
    snapshot, given, right = warm.snapshot, warm.given, warm.right
    _, _, positive, negative = tssd.psd(snapshot, given, config)
    members = (~(positive | negative)).nonzero().flatten()
    score, _ = tssd.msp(snapshot, given, positive, negative, config, None, chance)
    scores = {
        "mined": score,
        "without features": without_features(warm, config, positive, negative, chance),
        "random": torch.rand(len(given), generator=chance),
    }
    count = int((score[members] > config.mine_above).sum())
    found: dict[str, float | None] = {"number mined": float(count), "uncertain": float(len(members))}
    for name, values in scores.items():
        values = values[members].nan_to_num(-1.0)
        found[name] = percent(right[members][values.argsort(descending=True, stable=True)[:count]])
        found[f"AUC, {name}"] = 100 * roc_auc(values, right[members]) if len(members) else None
    return found


def without_features(
    warm: Warm, config: tssd.TSSDConfig, positive: torch.Tensor, negative: torch.Tensor, chance: torch.Generator
) -> torch.Tensor:
    """Scores (N,) of a meta classifier that sees probabilities and loss only, taught like the full one."""
    snapshot, given = warm.snapshot, warm.given
    means = class_means(snapshot.features, given, warm.num_classes)
    first, last = snapshot.features.shape[1], snapshot.features.shape[1] + 4  # the features' columns come first

    def describe(labels: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
        return meta_features(snapshot.features[members], snapshot.probs[members], labels, means)[:, first:last]

    clean = describe(given[positive], positive)
    if config.meta == "synthetic":
        if config.negatives == "transition":
            other = likely_other_label(given[positive], estimate_transition(snapshot.logits, given), chance)
        else:
            other = random_other_label(given[positive], warm.num_classes, chance)
        noisy = describe(other, positive)
    else:
        noisy = describe(given[negative], negative)
    classifier, _ = fit_meta_classifier(clean, noisy, config.meta_passes, chance)
    return purification_score(classifier, describe(given, torch.ones_like(positive)))


def t6(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(FEATURES, seed, idn_xia=NOISES["idn_xia"]).items():
        runs = {method: lab.train(replace(config, method=method)).result for method in ("tssd", "dividemix")}
        found[name] = progress({method: result.history for method, result in runs.items()})
    return found


def progress(histories: dict[str, list[dict]]) -> dict[str, float | None]:
    """Quality of the labelled set at the first division and at the last, by method, in per cent."""
    found: dict[str, float | None] = {}
    for method, history in histories.items():
        rows = [row["labelled"] for row in history if "labelled" in row]
        for when, row in (("first", rows[0]), ("last", rows[-1])):
            found |= {f"{method}: {what}, {when}": 100 * row[what] for what in ("precision", "recall", "f1")}
    return found


def t7(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(FEATURES, seed).items():
        warm = lab.warm(config)
        state, paper = warm.state, PRESETS["paper"]
        _, _, positive, negative = tssd.psd(warm.snapshot, warm.given, paper)
        uncertain = ~(positive | negative)
        ways = {"certain set": (paper, None), "synthetic negatives": (replace(paper, meta="synthetic"), None)}
        for n in (100, 500, 1000):
            # Test images stand in for a golden set: clean, held out, and no other network has to be trained.
            images, labels = state.test_images[:n], state.test_labels[:n]
            ways[f"golden {n}"] = (replace(paper, meta="golden", golden=n), (observe(state, images, labels), labels))
        found[name] = {}
        for way, (settings, golden) in ways.items():
            chance = generator(seed, f"T7 {way}")
            score, _ = tssd.msp(warm.snapshot, warm.given, positive, negative, settings, golden, chance)
            found[name][way] = 100 * roc_auc(score[uncertain].nan_to_num(0.5), warm.right[uncertain])
    return found


def train_with_random_mining(config: TrainConfig, **options) -> Result:
    """`train`, but as many uncertain samples as the meta classifier would mine are mined by chance."""
    original = tssd.msp

    def shuffled(snapshot, given_labels, positive, negative, settings, golden, generator):
        score, auc = original(snapshot, given_labels, positive, negative, settings, golden, generator)
        members = (~(positive | negative)).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator, device=members.device)
        return score.index_copy(0, members, score[members[order]]), auc

    with patch.object(tssd, "msp", shuffled):
        return train(config, **options)


def t8(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(replace(GLYPHS, preset="paper"), seed, idn_xia=NOISES["idn_xia"]).items():
        config = replace(config, settings=PRESETS["paper"])
        runs = {
            "mined": lab.train(config),
            "random": lab.train(config, "random mining", train_with_random_mining),
            "none": lab.train(replace(config, settings=replace(PRESETS["paper"], meta="off"))),
        }
        found[name] = {}
        for way, run in runs.items():
            accuracies = [row["test_accuracy"] for row in run.result.history[-10:]]
            found[name][f"spread with {way}"] = float(np.std(accuracies, ddof=1))
            found[name][f"accuracy with {way}"] = run.result.last
    return found


def t9(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(GLYPHS, seed, idn_xia=NOISES["idn_xia"]).items():
        warm = lab.warm(config)
        own = replace(warm.state.config, settings=None)
        seconds = {}
        for method, module in (("ce", None), ("dividemix", dividemix), ("tssd", tssd)):
            # A fresh state, because training would change the shared one.
            state = start(replace(own, method=method).resolved(), *prepare(own))
            state.epoch = own.warmup_epochs
            seconds[method] = epoch_seconds(state, module, warm)
        found[name] = {f"seconds an epoch, {m}": s for m, s in seconds.items()}
        found[name] |= {f"time in % of {m}": 100 * seconds["tssd"] / seconds[m] for m in ("ce", "dividemix")}
    return found


def t11(lab: Lab, seed: int) -> Numbers:
    return {name: cell for name, cell in t1(lab, seed).items() if ", people, " in name}


TAUS = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)


def over_taus(lab: Lab, seed: int) -> dict[str, dict[float, float]]:
    """Condition -> tau -> F1 of the certain positives, without mining."""
    found: dict[str, dict[float, float]] = {}
    for name, config in cells(FEATURES, seed).items():
        warm, found[name] = lab.warm(config), {}
        for tau in TAUS:
            settings = replace(PRESETS["paper"], tau=tau, meta="off")
            division, _ = tssd.divide(warm.snapshot, warm.given, None, settings, {}, generator(seed, "taus"))
            found[name][tau] = quality(division.labelled, warm.right)["F1"]
    return found


def t10(lab: Lab, seed: int) -> Numbers:
    curves = over_taus(lab, seed)
    best = {name: max(curve, key=curve.get) for name, curve in curves.items()}
    found: Numbers = {}
    for name, curve in curves.items():
        foreign = [curve[best[other]] for other in curves if other != name]
        found[name] = {f"F1 at {tau}": value for tau, value in curve.items()}
        found[name] |= {"best tau": best[name], "F1 at its own best tau": curve[best[name]]}
        found[name]["F1 at the best tau of another noise"] = min(foreign)
    return found


RUNS = {
    "T1": t1,
    "T2": t2,
    "T3": t3,
    "T4": t4,
    "T5": t5,
    "T6": t6,
    "T7": t7,
    "T8": t8,
    "T9": t9,
    "T10": t10,
    "T11": t11,
}
