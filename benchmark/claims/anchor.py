"""The claims of Anchor Hallucination (arXiv 2407.07331), and the experiment that decides each."""

import time
from dataclasses import replace

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from benchmark.claims.lab import CLEAN, FEATURES, GLYPHS, NOISES, WHERE, Lab, Numbers, Warm, cells, generator, percent
from benchmark.claims.tssd import beside
from nlcore.methods import anchor
from nlcore.selection.hallucination import Anchors
from nlcore.selection.streams import class_means, loss_stream
from nlcore.selection.voting import centred_unit, count_votes
from nlcore.study.comparisons import correction_table
from nlcore.training.config import TrainConfig

PRESETS = anchor.PRESETS


def easy_and_hard(warm: Warm, config: anchor.AnchorConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the easy samples and of the others, in ascending order."""
    _, easy = anchor.select_easy(warm.snapshot, warm.given, config)
    return easy.nonzero().flatten(), (~easy).nonzero().flatten()


def make(
    warm: Warm, config: anchor.AnchorConfig, easy: torch.Tensor, chance: torch.Generator, memory: dict | None = None
) -> tuple[Anchors, dict]:
    """Anchors of a hallucinator trained on the easy rows, from scratch without a `memory`; and their description."""
    memory = {} if memory is None else memory
    return anchor.make_anchors(warm.snapshot, warm.given, easy, warm.classify, config, memory, chance)


def a1(lab: Lab, seed: int) -> Numbers:
    return beside(lab, seed, "anchor", ("ce", "dividemix", "tscsi"))


def rank_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Spearman's correlation of (N,) and (N,), times 100."""
    return 100 * float(spearmanr(a.numpy(), b.numpy()).statistic)


def difficulty(lab: Lab, base: TrainConfig, seed: int) -> torch.Tensor:
    """How hard each sample is, (N,): the loss of its true label for a network taught on true labels only.

    Weights and views are those of another seed, so that the two networks share nothing but the samples.
    """
    config = replace(base, seed=(seed + 1) % 5, **CLEAN)
    return lab.warm(config).snapshot.losses


def a2(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for base in (GLYPHS, FEATURES):
        hard = difficulty(lab, base, seed)
        for name, config in cells(base, seed).items():
            warm = lab.warm(config)
            right, losses = warm.right, warm.snapshot.losses
            learnt = first_epoch(warm.predictions, warm.true)
            early = warm.predictions[1] == warm.given  # after the second epoch
            lowest = losses.argsort()[: len(losses) // 4]
            found[name] = {
                "correlation of learning epoch and difficulty": rank_correlation(learnt[right], hard[right]),
                "correlation of loss and difficulty": rank_correlation(losses[right], hard[right]),
                "right labels followed early": percent(early[right]),
                "wrong labels followed early": percent(early[~right]),
                "right in the lowest quarter of losses": percent(right[lowest]),
                "right in all": percent(right),
            }
    return found


def first_epoch(predictions: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """The first epoch, from 0, whose prediction (N,) is the label (N,); their number if none is: (N,) int64."""
    hits = torch.stack([*(p == labels for p in predictions), torch.ones_like(labels, dtype=torch.bool)])
    return hits.int().argmax(0)


def a3(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for base in (GLYPHS, FEATURES):
        hard, lost = difficulty(lab, base, seed), {}
        for name, config in cells(base, seed).items():
            warm = lab.warm(config)
            chosen = loss_stream(warm.snapshot.losses, warm.given, warm.num_classes, None) > 0.5
            recalls = recall_by_quarter(chosen, warm.right, hard)
            found[name] = {f"recall, quarter {q + 1}": recall for q, recall in enumerate(recalls)}
            lost[config.noise] = recalls[0] - recalls[3]
        found[f"{WHERE[base.dataset]}, idn_xia beside symmetric"] = {
            f"lost, {kind}": lost[kind] for kind in ("idn_xia", "symmetric")
        }
    return found


def recall_by_quarter(chosen: torch.Tensor, right: torch.Tensor, difficulty: torch.Tensor) -> list[float]:
    """Share of the right labels that is chosen, in per cent, in each quarter of difficulty, from easy to hard."""
    rows = right.nonzero().flatten()
    ordered = rows[difficulty[rows].argsort(stable=True)]
    return [percent(chosen[part]) for part in ordered.tensor_split(4)]


def a4(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for base in (GLYPHS, FEATURES):
        for name, config in cells(base, seed).items():
            warm = lab.warm(config)
            found[name] = {"all labels": percent(warm.right)}
            for preset, settings in PRESETS.items():
                easy, _ = easy_and_hard(warm, settings)
                found[name][f"easy labels, {preset}"] = percent(warm.right[easy])
    return found


def a5(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(GLYPHS, seed).items():
        warm = lab.warm(config)
        found[name] = {}
        for preset, settings in PRESETS.items():
            settings = replace(settings, validity=False)
            easy, _ = easy_and_hard(warm, settings)
            anchors, _ = make(warm, settings, easy, generator(seed, f"A5 {preset}"))
            position = positions(anchors, warm.snapshot.features[easy])
            own = warm.classify(anchors.features).argmax(1) == anchors.labels
            found[name] |= {f"{preset}: {what}": value for what, value in position.items()}
            found[name][f"{preset}: classified as the first class"] = percent(own)
    return found


def positions(anchors: Anchors, features: torch.Tensor) -> dict[str, float]:
    """Where anchors lie between their parents, whose features are (E, d): cosines around the mean feature, times 100,
    and the share, in per cent, whose projection falls between both parents."""
    centre = features.mean(0)
    first, second = (features[anchors.parents[:, k]] - centre for k in (0, 1))
    own = anchors.features - centre
    along = ((own - second) * (first - second)).sum(1) / (first - second).square().sum(1).clamp(min=1e-12)
    return {
        "cosine to the first": 100 * float(F.cosine_similarity(own, first).mean()),
        "cosine to the second": 100 * float(F.cosine_similarity(own, second).mean()),
        "cosine between the parents": 100 * float(F.cosine_similarity(first, second).mean()),
        "between": percent((along > 0) & (along < 1)),
    }


def a6(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in (cells(GLYPHS, seed) | cells(FEATURES, seed, idn_xia=NOISES["idn_xia"])).items():
        warm = lab.warm(config)
        chance = generator(seed, "A6")
        table = correction_table(warm.snapshot, warm.given, warm.true, warm.classify, chance)
        found[name] = at_half(table) | papers_verdicts(warm, generator(seed, "A6 paper"))
    return found


def at_half(table) -> dict[str, float]:
    """Precision, in per cent, on the surer half of the hard samples, by corrector."""
    return {name.replace(" x T", " × T"): 100 * value for name, value in table["at 50%"].items()}


def papers_verdicts(warm: Warm, chance: torch.Generator) -> dict[str, float | None]:
    """The `paper` preset's accepted verdicts, in per cent: how many hard samples they cover, how many are right, and
    how right the given labels there are, and the network's surest predictions, as many."""
    settings = PRESETS["paper"]
    easy, hard = easy_and_hard(warm, settings)
    anchors, _ = make(warm, settings, easy, chance)
    labels, _, accepted = anchor.vote(warm.snapshot, warm.given, easy, hard, anchors, settings)
    true, probs = warm.true[hard], warm.snapshot.probs[hard]
    surest = probs.amax(1).argsort(descending=True, stable=True)[: int(accepted.sum())]
    return {
        "paper's verdicts: coverage": percent(accepted),
        "paper's verdicts": percent((labels == true)[accepted]),
        "given labels of the same samples": percent((warm.given[hard] == true)[accepted]),
        "argmax, as many": percent((probs.argmax(1) == true)[surest]),
    }


def a7(lab: Lab, seed: int) -> Numbers:
    paper = PRESETS["paper"]
    removed = {
        "everything": {},
        "no class cap": {"balance": False},
        "no hallucinator": {"generator": "interpolated"},
        "no validity check": {"validity": False},
        "no vote": {"voters": 1},
        "no easiness weights": {"weight_by_easiness": False},
        "no corrected samples": {"correct": False},
    }
    base = replace(GLYPHS, method="anchor", preset="paper")
    found: Numbers = {}
    for name, config in cells(base, seed, idn_xia=NOISES["idn_xia"]).items():
        row = {
            part: lab.train(replace(config, settings=replace(paper, **change))).result.last
            for part, change in removed.items()
        }
        others = [value for part, value in row.items() if part not in ("everything", "no corrected samples")]
        found[name] = row | {"mean of the other removals": sum(others) / len(others)}
    return found


def a8(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(replace(GLYPHS, method="anchor"), seed, idn_xia=NOISES["idn_xia"]).items():
        half = lab.resolved(config).epochs // 2
        row, seconds = {}, {}
        for way, change in {
            "one network": {},
            "two networks": {"networks": 2},
            "two networks, half the epochs": {"networks": 2, "epochs": half},
        }.items():
            started = time.process_time()
            row[way] = lab.train(replace(config, **change), "timed training").result.last
            seconds[way] = time.process_time() - started
        found[name] = row | {"time of two in % of one": 100 * seconds["two networks"] / seconds["one network"]}
    return found


def a9(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(FEATURES, seed).items():
        warm = lab.warm(config)
        settings = PRESETS["tuned"]
        easy, hard = easy_and_hard(warm, settings)
        anchors, _ = make(warm, settings, easy, generator(seed, "A9"))
        features = warm.snapshot.features
        found[name] = {}
        for way in ("cosine", "centred cosine", "Euclidean"):
            labels = nearest_vote(features[hard], anchors, way, features[easy].mean(0), warm.num_classes)
            found[name][way] = percent(labels == warm.true[hard])
    return found


def nearest_vote(queries: torch.Tensor, anchors: Anchors, way: str, centre: torch.Tensor, classes: int, voters=10):
    """Label (H,) that most of the nearest anchors have, for features (H, d): by cosine, by cosine around `centre` (d,)
    or by Euclidean distance."""
    keys = anchors.features
    if way == "Euclidean":
        # |q - k|² without its constant |q|², so that a larger value is nearer
        similarity = 2 * queries @ keys.T - keys.square().sum(1)
    else:
        offset = centre if way == "centred cosine" else torch.zeros_like(centre)
        similarity = centred_unit(queries, offset) @ centred_unit(keys, offset).T
    chosen = similarity.topk(min(voters, len(keys)), dim=1).indices
    return count_votes(chosen, anchors.labels, classes).argmax(1)


def a10(lab: Lab, seed: int) -> Numbers:
    found: Numbers = {}
    for name, config in cells(replace(FEATURES, method="anchor"), seed, idn_xia=NOISES["idn_xia"]).items():
        run = lab.train(config)
        state, first, last = run.last.state, run.correcting, run.last
        if first is None:
            found[name] = {"number corrected": 0.0}
            continue
        given, true = state.given_labels, state.true_labels
        hard_wrong = (first.division.membership != 0) & (given != true)
        corrected = hard_wrong & first.division.labelled & (first.division.target == true)
        before, after = (lean(epoch.snapshot.features, given, true, state.num_classes) for epoch in (first, last))
        rest = hard_wrong & ~first.division.labelled
        found[name] = {
            "before": _mean(before[corrected]),
            "after": _mean(after[corrected]),
            "moved, corrected": _mean((after - before)[corrected]),
            "moved, not corrected": _mean((after - before)[rest]),
            "number corrected": float(corrected.sum()),
        }
    return found


def lean(features: torch.Tensor, given: torch.Tensor, true: torch.Tensor, classes: int) -> torch.Tensor:
    """Cosine to the mean of the true class less that to the mean of the given class, times 100: (N,).

    Both means are those of samples that truly are of the class; everything is centred on the mean feature.
    """
    unit = centred_unit(features, features.mean(0))
    cosines = unit @ F.normalize(class_means(unit, true, classes), dim=1).T
    return 100 * (cosines.gather(1, true[:, None]) - cosines.gather(1, given[:, None])).squeeze(1)


def _mean(values: torch.Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


RUNS = {"A1": a1, "A2": a2, "A3": a3, "A4": a4, "A5": a5, "A6": a6, "A7": a7, "A8": a8, "A9": a9, "A10": a10}
