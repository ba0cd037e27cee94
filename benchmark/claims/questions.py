"""The questions that Anchor Hallucination leaves open, each put as an answer that an experiment can refute."""

import inspect
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from benchmark.claims.anchor import PRESETS, easy_and_hard, make, positions
from benchmark.claims.lab import FEATURES, GLYPHS, NOISES, Lab, Numbers, Warm, cells, generator, long_tail, percent
from benchmark.claims.tssd import beside
from nlcore.basics.chance import seeded, stream
from nlcore.methods import anchor, tssd
from nlcore.noise.models import symmetric
from nlcore.selection.division import Snapshot
from nlcore.selection.hallucination import Anchors
from nlcore.study.comparisons import roc_auc

RATIOS = (10, 50)


def q1(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for ratio in RATIOS:
        warm = lab.warm(replace(FEATURES, seed=seed, **NOISES["symmetric"]), long_tail(ratio))
        row = found[f"CIFAR-10 features, ratio {ratio}"] = {}
        for name, balance in (("with the cap", True), ("without the cap", False)):
            easy, _ = easy_and_hard(warm, replace(PRESETS["tuned"], balance=balance))
            chosen = torch.zeros_like(warm.right).index_fill(0, easy, True)
            row[f"mean F1 of a class, {name}"] = float(np.mean(f1_by_class(chosen, warm)))
            row[f"precision, {name}"] = percent(warm.right[easy])
            row[f"share of the three rarest classes, {name}"] = percent(torch.isin(warm.given[easy], rare(warm)))
    return found


def f1_by_class(chosen: torch.Tensor, warm: Warm) -> list[float]:
    """F1, in per cent, of the chosen samples (N,) bool inside each given class."""
    scores = []
    for c in range(warm.num_classes):
        own = warm.given == c
        found, size, right = (float(x.sum()) for x in (own & chosen & warm.right, own & chosen, own & warm.right))
        scores.append(100 * 2 * found / max(1.0, size + right))
    return scores


def rare(warm: Warm, number: int = 3) -> torch.Tensor:
    """The truly rarest classes, (number,) int64."""
    return torch.bincount(warm.true, minlength=warm.num_classes).argsort(stable=True)[:number]


def q2(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, (inputs, labels) in {"text": docstrings(), "table": measurements()}.items():
        classes = int(labels.max()) + 1
        chance = generator(seed, f"Q2 {name}")
        given = symmetric(labels, classes, 0.4, chance, include_true=False)
        snapshot, classify = perceptron(inputs, given, classes, seed)
        right = given == labels
        row = found[name] = {"right in all": percent(right)}
        for method, module in (("tssd", tssd), ("anchor", anchor)):
            settings = module.PRESETS["tuned"]
            division, report = module.divide(snapshot, given, classify, settings, {}, chance)
            row[f"{method}: AUC"] = 100 * roc_auc(division.clean_prob, right)
            row[f"{method}: right in the labelled set"] = percent((division.target == labels)[division.labelled])
        hard = division.membership != 0
        row["anchor: verdicts on the hard"] = percent((report["verdict_labels"] == labels)[hard])
        row["anchor: given labels of the hard"] = percent(right[hard])
        lab.used.append({"data": name, "samples": len(labels), "classes": classes, "noise": "symmetric 0.4"})
    return found


def docstrings(packages=("numpy", "scipy.stats", "sklearn.metrics", "pandas", "torch.nn"), most: int = 250):
    """A text data set that every installation has: which package is a docstring of? Features (N, 64), labels (N,).

    Words are weighted by their rarity (TF-IDF) and reduced to 64 directions.
    """
    from importlib import import_module

    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, labels = [], []
    for label, package in enumerate(packages):
        module = import_module(package)
        found = {inspect.getdoc(getattr(module, name, None)) or "" for name in dir(module) if name[0] != "_"}
        long_enough = sorted(text for text in found if len(text) > 200)[:most]
        texts += long_enough
        labels += [label] * len(long_enough)
    words = TfidfVectorizer(stop_words="english", min_df=3, sublinear_tf=True).fit_transform(texts)
    reduced = TruncatedSVD(64, random_state=0).fit_transform(words)
    return torch.from_numpy(reduced).float(), torch.tensor(labels)


def measurements() -> tuple[torch.Tensor, torch.Tensor]:
    """Thirty measurements of each of 569 tumours, scaled, and whether they are benign: (N, 30), (N,)."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    inputs, labels = load_breast_cancer(return_X_y=True)
    return torch.from_numpy(StandardScaler().fit_transform(inputs)).float(), torch.from_numpy(labels).long()


def perceptron(inputs: torch.Tensor, given: torch.Tensor, classes: int, seed: int, passes: int = 20):
    """What a network with one hidden layer sees of its training rows (N, m), and its last layer as a function."""
    with seeded(stream(seed, "perceptron")):
        body = torch.nn.Sequential(torch.nn.Linear(inputs.shape[1], 64), torch.nn.ReLU())
        head = torch.nn.Linear(64, classes)
        optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], 3e-3)
        for _ in range(passes):
            for batch in torch.randperm(len(inputs)).split(32):
                loss = F.cross_entropy(head(body(inputs[batch])), given[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    with torch.no_grad():
        features = body(inputs)
        logits = head(features)
    return Snapshot(logits, features, F.cross_entropy(logits, given, reduction="none")), head


def verdict_precision(
    warm: Warm, settings: anchor.AnchorConfig, chance: torch.Generator, memory: dict | None = None
) -> tuple[float | None, Anchors, torch.Tensor]:
    """Precision, in per cent, of the labels voted for all hard samples; the anchors; the easy rows."""
    easy, hard = easy_and_hard(warm, settings)
    anchors, _ = make(warm, settings, easy, chance, memory)
    labels, _, _ = anchor.vote(warm.snapshot, warm.given, easy, hard, anchors, settings)
    return percent(labels == warm.true[hard]), anchors, easy


def q3(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(GLYPHS, seed).items():
        warm = lab.warm(config)
        row = found[name] = {}
        for share in (0.5, 0.75, 1.0):
            for preset in ("tuned", "paper"):
                settings = replace(PRESETS["tuned"], lambda_p=share)
                if preset == "paper":  # the paper's loss, the same vote: what differs is where the anchors lie
                    settings = replace(settings, centred=False, similarity_weight=1.0, norm_penalty=0.0)
                precision, anchors, easy = verdict_precision(warm, settings, generator(seed, "Q3"))
                place = positions(anchors, warm.snapshot.features[easy])
                row[f"{preset} loss, {share}: cosine to the second"] = place["cosine to the second"]
                row[f"{preset} loss, {share}: precision"] = precision
    return found


def q4(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(GLYPHS, seed).items():
        warm = lab.warm(config)
        row = found[name] = {}
        memory: dict = {}
        for number in (20, 5, 1):
            settings = replace(PRESETS["tuned"], anchors_per_easy=number, max_anchors_per_class=10**9)
            precision, _, _ = verdict_precision(warm, settings, generator(seed, "Q4"), memory)
            row[f"precision with {number}"] = precision
            memory["divisions"] = 1  # the first division has trained the hallucinator, the others use it as it is
    return found


def q5(lab: Lab, seed: int) -> Numbers:
    return beside(lab, seed, "anchor", ("ce",))


RUNS = {"Q1": q1, "Q2": q2, "Q3": q3, "Q4": q4, "Q5": q5}
