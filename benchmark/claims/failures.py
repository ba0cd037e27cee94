"""The failures that both papers warn of, produced on purpose."""

from dataclasses import replace

import torch

from benchmark.claims.anchor import PRESETS, easy_and_hard, make
from benchmark.claims.lab import (
    CLEAN,
    FEATURES,
    GLYPHS,
    NOISES,
    Lab,
    Numbers,
    blurred_rows,
    cells,
    generator,
    half_blurred,
    long_tail,
    percent,
)
from benchmark.claims.questions import RATIOS, rare
from benchmark.claims.tssd import over_taus
from nlcore.methods import anchor, dividemix, tssd
from nlcore.selection.division import Snapshot
from nlcore.selection.hallucination import Anchors
from nlcore.selection.streams import class_means
from nlcore.selection.voting import centred_unit
from nlcore.study.comparisons import roc_auc


def w1(lab: Lab, seed: int) -> Numbers:
    curves = over_taus(lab, seed)
    return {name: {f"F1 at {tau}": value for tau, value in curve.items()} for name, curve in curves.items()}


def w2(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(GLYPHS, seed).items():
        warm = lab.warm(config)
        found[name] = {}
        for preset, settings in tssd.PRESETS.items():
            _, _, positive, negative = tssd.psd(warm.snapshot, warm.given, settings)
            uncertain = ~(positive | negative)
            scores = {"diverse": [], "starved": []}
            for c in range(0, warm.num_classes, 2):  # every other class loses all but five of its certain samples
                own = (positive & (warm.given == c)).nonzero().flatten()
                starved = positive.index_fill(0, own[5:], False)
                asked = uncertain & (warm.given == c)
                for way, taught in (("diverse", positive), ("starved", starved)):
                    chance = generator(seed, f"W2 {preset} {c}")
                    score, _ = tssd.msp(warm.snapshot, warm.given, taught, negative, settings, None, chance)
                    scores[way].append(100 * roc_auc(score[asked], warm.right[asked]))
            for way, values in scores.items():
                found[name][f"{preset}: AUC in the class, {way}"] = float(torch.tensor(values).nanmean())
    return found


def w3(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for ratio in RATIOS:
        warm = lab.warm(replace(FEATURES, seed=seed, **NOISES["symmetric"]), long_tail(ratio))
        sizes = torch.bincount(warm.true, minlength=warm.num_classes).argsort(descending=True, stable=True)
        row = found[f"CIFAR-10 features, ratio {ratio}"] = {}
        for preset, settings in tssd.PRESETS.items():
            chance = generator(seed, f"W3 {preset}")
            division, _ = tssd.divide(warm.snapshot, warm.given, None, settings, {}, chance)
            for words, classes in (("frequent", sizes[:3]), ("rare", rare(warm))):
                own = warm.right & torch.isin(warm.given, classes)
                row[f"{preset}: recall, {words} classes"] = percent(division.labelled[own])
    return found


def w4(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(GLYPHS, seed, **{"half of them blurred": CLEAN}).items():
        warm = lab.warm(config, half_blurred)
        blurred = torch.zeros_like(warm.right)
        blurred[blurred_rows(len(blurred), config.seed)] = True
        row = found[name] = {}
        divided = {
            "loss mixture": dividemix.divide(warm.snapshot, warm.given, None, dividemix.PRESETS["paper"], {}, None)
        }
        for preset, settings in tssd.PRESETS.items():
            chance = generator(seed, f"W4 {preset}")
            divided[f"tssd {preset}"] = tssd.divide(warm.snapshot, warm.given, None, settings, {}, chance)
        for way, (division, _) in divided.items():
            row[f"{way}: sharp images kept"] = percent(division.labelled[~blurred])
            row[f"{way}: blurred images kept"] = percent(division.labelled[blurred])
    return found


def w5(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(GLYPHS, seed).items():
        warm = lab.warm(config)
        paper = PRESETS["paper"]
        easy, _ = easy_and_hard(warm, paper)
        few = torch.cat([easy[warm.given[easy] == c][:3] for c in range(warm.num_classes)])
        ways = {
            "usual": (easy, paper),
            "three easy a class": (few, replace(paper, anchors_per_easy=100)),
            "no pull": (easy, replace(paper, similarity_weight=0.0)),
            "strong pull": (easy, replace(paper, similarity_weight=100.0)),
        }
        row = found[name] = {}
        for way, (rows, settings) in ways.items():
            settings = replace(settings, validity=False, max_anchors_per_class=1000)
            anchors, quality = make(warm, settings, rows, generator(seed, "W5"))
            row[f"spread, {way}"] = spread(anchors, warm.snapshot.features[easy], warm.given[easy])
            row[f"effective rank, {way}"] = quality["rank"]
    return found


def spread(anchors: Anchors, features: torch.Tensor, labels: torch.Tensor) -> float:
    """Variance of the anchors' directions inside their classes, in per cent of that of features (E, d) of labels (E,).

    Directions are taken around the mean feature; lengths do not count, because those of anchors may inflate.
    """
    centre = features.mean(0)

    def within(points: torch.Tensor, classes: torch.Tensor) -> float:
        unit = centred_unit(points, centre)
        means = class_means(unit, classes, int(labels.max()) + 1)
        return float((unit - means[classes]).square().sum(1).mean())

    return 100 * within(anchors.features, anchors.labels) / within(features, labels)


def w6(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(GLYPHS, seed).items():
        warm, fresh = lab.warm(config), lab.untrained(config)
        easy, hard = easy_and_hard(warm, PRESETS["tuned"])
        row = found[name] = {"most frequent true class": percent_of_mode(warm.true[hard])}
        for way, source in (("trained", warm), ("untrained", fresh)):
            # The same easy samples for both, so that only the features differ.
            anchors, _ = make(source, PRESETS["tuned"], easy, generator(seed, "W6"))
            snapshot = Snapshot(warm.snapshot.logits, source.snapshot.features, warm.snapshot.losses)
            settings = replace(PRESETS["tuned"], vote="majority", voters=10)
            labels, _, _ = anchor.vote(snapshot, warm.given, easy, hard, anchors, settings)
            row[f"votes right, {way} features"] = percent(labels == warm.true[hard])
    return found


def percent_of_mode(labels: torch.Tensor) -> float:
    """Share of the most frequent label, in per cent."""
    return 100 * float(torch.bincount(labels).max()) / len(labels)


def w7(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(replace(FEATURES, method="anchor"), seed, idn_xia=NOISES["idn_xia"]).items():
        settings = replace(PRESETS["tuned"], weight_by_easiness=False)
        found[name] = {
            "easiness as weight": lab.train(config).result.last,
            "weight 1": lab.train(replace(config, settings=settings)).result.last,
        }
    return found


RUNS = {"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W7": w7}
