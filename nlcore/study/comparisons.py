"""The same snapshot, judged in many ways: what each choice of the methods is compared with.

A number of corrected labels and its precision make every voter look good. So each table here puts the method's own way
beside the simplest alternatives, at equal size or equal coverage.
"""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pandas as pd
import torch

from nlcore.basics.files import in_file_name, user_path, write_atomically
from nlcore.basics.machine import environment
from nlcore.basics.progress import reused
from nlcore.methods import anchor, tssd
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.division import Snapshot
from nlcore.selection.hallucination import Anchors
from nlcore.selection.streams import (
    class_margin,
    class_means,
    feature_stream,
    joint_probability,
    loss_stream,
    min_max,
    row_sums,
)
from nlcore.selection.voting import (
    ballots_from_hard,
    centred_unit,
    estimate_transition,
    soft_votes,
    with_transition,
)
from nlcore.training import kept
from nlcore.training.config import TrainConfig
from nlcore.training.engine import Epoch
from nlcore.training.observe import observe
from nlcore.training.result import is_current, stored_result
from nlcore.training.run import prepare

HALLUCINATOR_LOSS = ("centred", "similarity_weight", "norm_penalty")  # in these the presets differ
BY_PROTOTYPES = replace(anchor.PRESETS["tuned"], easy_loss="prototype", prototype_rounds=1)
# Reports that were stored while the `tuned` presets were others call some rows by what was the default then.
RENAMED = {
    "Anchor tuned: easy (prototype)": "Anchor: easy (prototype)",
    "meta classifier, synthetic negatives (tuned)": "meta classifier, random negatives",
    "meta classifier, synthetic, with scalars": "meta classifier, random negatives, with scalars",
}


def roc_auc(scores: torch.Tensor, right: torch.Tensor) -> float:
    """Chance that a right one scores above a wrong one; NaN if there is only one kind. scores (N,), right (N,) bool."""
    from sklearn.metrics import roc_auc_score

    if right.all() or not right.any():
        return float("nan")
    return float(roc_auc_score(right.cpu(), scores.cpu()))


def _quality(selected: torch.Tensor, right: torch.Tensor) -> dict[str, float]:
    found = float((selected & right).sum())
    precision, recall = found / max(1, int(selected.sum())), found / max(1, int(right.sum()))
    f1 = 2 * precision * recall / max(1e-12, precision + recall)
    return {"size": int(selected.sum()), "precision": precision, "recall": recall, "F1": f1}


def selection_table(
    snapshot: Snapshot, given: torch.Tensor, true: torch.Tensor, generator: torch.Generator
) -> pd.DataFrame:
    """Ways of calling a label clean: size, precision, recall, F1 of the selected set, and AUC of the score.

    given, true (N,) int64. The probabilities are cut at 0.5; "TSSD" rows are the labelled set of the whole method,
    "Anchor" rows its easy set. One mixture for all classes, where a row does not say otherwise; row sums, whose scale
    is that of their class, have one a class.
    """
    num_classes, right = snapshot.logits.shape[1], given == true
    p_loss = loss_stream(snapshot.losses, given, num_classes, None)
    p_class = loss_stream(snapshot.losses, given, num_classes, 100)
    similarity = row_sums(snapshot.features, given, num_classes)
    margin = class_margin(snapshot.features, given, num_classes, p_loss)
    p_margin = feature_stream(margin, given, num_classes, per_class=False)
    scores = {
        "loss only (DivideMix)": p_loss,
        "loss only, mixture per class": p_class,
        "feature only: row sum": feature_stream(similarity, given, num_classes),
        "feature only: margin": p_margin,
        "feature only: margin, mixture per class": feature_stream(margin, given, num_classes),
        "mean of both": (p_loss + p_margin) / 2,
        "product of both": p_loss * p_margin,
        "joint mixture": joint_probability(torch.stack([min_max(snapshot.losses), 1 - min_max(margin)], 1)),
    }
    rows = {name: _quality(p > 0.5, right) | {"AUC": roc_auc(p, right)} for name, p in scores.items()}
    for preset, config in tssd.PRESETS.items():
        for name, variant in (("P", replace(config, meta="off")), ("P and mined", config)):
            division, _ = tssd.divide(snapshot, given, None, variant, {}, generator)
            rows[f"TSSD {preset}: {name}"] = _quality(division.labelled, right) | {
                "AUC": roc_auc(division.clean_prob, right)
            }
    for name, config in (
        ("Anchor tuned: easy (loss and prototype)", anchor.PRESETS["tuned"]),
        ("Anchor: easy (prototype)", BY_PROTOTYPES),
        ("Anchor paper: easy (loss)", anchor.PRESETS["paper"]),
    ):
        easiness, easy = anchor.select_easy(snapshot, given, config)
        rows[name] = _quality(easy, right) | {"AUC": roc_auc(easiness, right)}
    return pd.DataFrame.from_dict(rows, orient="index")


def mining_table(
    snapshot: Snapshot, given: torch.Tensor, true: torch.Tensor, generator: torch.Generator
) -> pd.DataFrame:
    """Ways of mining clean labels among TSSD's uncertain samples: AUC there, and precision at the same number mined.

    The number is what the tuned meta classifier mines; every score takes its highest so many. `random` is the base
    rate. Negatives are certain positives under another label: a likely one, by the estimated transition, or a random
    one.
    """
    config = tssd.PRESETS["tuned"]
    right = given == true
    p_loss, p_feature, positive, negative = tssd.psd(snapshot, given, config)
    uncertain = ~(positive | negative)
    margin = class_margin(snapshot.features, given, snapshot.logits.shape[1], p_loss)

    def msp(**changes) -> torch.Tensor:
        return tssd.msp(snapshot, given, positive, negative, replace(config, **changes), None, generator)[0]

    scores = {
        "meta classifier, likely negatives (tuned)": msp(),
        "meta classifier, random negatives": msp(negatives="uniform"),
        "meta classifier, certain negatives (paper)": msp(meta="certain", meta_scalars=True),
        "meta classifier, likely negatives, with scalars": msp(meta_scalars=True),
        "loss stream": p_loss,
        "feature stream": p_feature,
        "mean of both": (p_loss + p_feature) / 2,
        "joint mixture": joint_probability(torch.stack([min_max(snapshot.losses), 1 - min_max(margin)], 1)),
        "random": torch.rand(len(given), generator=generator, device=given.device),
    }
    members = uncertain.nonzero().flatten()
    mined = int((scores["meta classifier, likely negatives (tuned)"][members] > config.mine_above).sum())
    rows = {}
    for name, score in scores.items():
        score = score[members].nan_to_num(-1.0)
        best = right[members][score.argsort(descending=True, stable=True)[:mined]].float()
        rows[name] = {
            "uncertain": len(members),
            "mined": mined,
            "precision": float(best.mean()) if mined else float("nan"),
            "recall": float(best.sum() / right[members].sum().clamp(min=1)),
            "AUC": roc_auc(score, right[members]) if len(members) else float("nan"),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def correctors(
    snapshot: Snapshot, given: torch.Tensor, easy: torch.Tensor, hard: torch.Tensor, banks: dict[str, Anchors], config
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Label and confidence of every way to label the hard samples: name -> two (H,).

    easy (E,) and hard (H,) are rows; `banks` are anchor sets by name; `config` an `AnchorConfig` for K and temperature.
    Names ending in "x T" multiply by the estimated transition to the given label; "x T, pooled" is the mean of that and
    the network's own probabilities.
    """
    num_classes = snapshot.logits.shape[1]
    transition = estimate_transition(snapshot.logits, given)
    centre = snapshot.features[easy].mean(0)
    queries, keys = (centred_unit(snapshot.features[rows], centre) for rows in (hard, easy))

    def neighbours(bank: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        chosen, cosines = ballots_from_hard(queries, bank, -torch.inf, config.voters)
        return soft_votes(chosen, cosines, labels, num_classes, config.vote_temperature)

    prior = torch.bincount(given, minlength=num_classes).float() / len(given)
    means = torch.nn.functional.normalize(class_means(keys, given[easy], num_classes), dim=1)
    opinions = {
        "argmax": snapshot.probs[hard],
        "argmax, prior removed": (snapshot.logits[hard] - prior.clamp(min=1e-6).log()).softmax(1),
        "class means": (queries @ means.T / config.vote_temperature).softmax(1),
        "kNN": neighbours(keys, given[easy]),
    }
    for name, anchors in banks.items():
        opinions[name] = neighbours(centred_unit(anchors.features, centre), anchors.labels)
    found = {"given label": (given[hard], snapshot.probs[hard].gather(1, given[hard, None]).squeeze(1))}
    for name, opinion in opinions.items():
        found[name] = opinion.max(1)[::-1]
        if not name.startswith("argmax"):
            posterior = with_transition(opinion, transition, given[hard])
            found[f"{name} x T"] = posterior.max(1)[::-1]
            found[f"{name} x T, pooled"] = ((posterior + snapshot.probs[hard]) / 2).max(1)[::-1]
    return found


def correction_table(
    snapshot: Snapshot,
    given: torch.Tensor,
    true: torch.Tensor,
    classify,
    generator: torch.Generator,
    coverages: tuple[float, ...] = (1.0, 0.5, 0.2),
) -> pd.DataFrame:
    """Precision of the labels given to the hard samples, by each corrector and at equal coverage.

    A coverage of 0.2 takes the fifth of the hard samples of which each corrector is surest. `classify` maps features to
    logits. The hard samples are those that the tuned easy selection leaves.
    """
    config = anchor.PRESETS["tuned"]
    _, selected = anchor.select_easy(snapshot, given, config)
    easy, hard = selected.nonzero().flatten(), (~selected).nonzero().flatten()
    banks = {}
    for name, variant in (
        ("hallucinator", config),
        (
            "hallucinator, paper's loss",
            replace(config, **{name: getattr(anchor.PRESETS["paper"], name) for name in HALLUCINATOR_LOSS}),
        ),
        ("interpolation", replace(config, generator="interpolated", lambda_p=0.6)),
    ):
        banks[name] = anchor.make_anchors(snapshot, given, easy, classify, variant, {}, generator)[0]
    rows = {}
    for name, (labels, confidence) in correctors(snapshot, given, easy, hard, banks, config).items():
        right = (labels == true[hard])[confidence.argsort(descending=True, stable=True)].float()
        rows[name] = {f"at {share:.0%}": float(right[: max(1, round(share * len(hard)))].mean()) for share in coverages}
    return pd.DataFrame.from_dict(rows, orient="index")


def after_warmup(config: TrainConfig) -> tuple[Epoch, NoisyLabels]:
    """Train a configuration for its warm-up epochs only: the state that a method's first division starts from."""
    config = config.resolved()
    dataset, noisy = prepare(config)
    *_, last = islice(kept.run(config, dataset, noisy), config.warmup_epochs)
    return last, noisy


def first_division_report(config: TrainConfig, bins: int = 40) -> dict:
    """Everything that the first division after warm-up can be judged by, as plain values for a stored result.

    `tables`: selection, mining and correction (name -> list of rows). `histograms`: counts of right and wrong labels in
    `bins` bins of the scaled loss and of both streams' probabilities. Besides: config, noise, test accuracy,
    environment.
    """
    epoch, noisy = after_warmup(config)
    state = epoch.state
    given, true, generator = state.given_labels, state.true_labels, state.generator
    snapshot = observe(state)
    right = given == true
    p_loss, p_feature, _, _ = tssd.psd(snapshot, given, tssd.PRESETS["tuned"])
    tables = {
        "selection": selection_table(snapshot, given, true, generator),
        "mining": mining_table(snapshot, given, true, generator),
        "correction": correction_table(snapshot, given, true, state.teacher.classify, generator),
    }
    values = {"scaled loss": min_max(snapshot.losses), "loss stream": p_loss, "feature stream": p_feature}
    return {
        "config": state.config.to_dict(),
        "noise": {"identity": noisy.identity, "realised_rate": noisy.rate},
        "test_accuracy": epoch.row["test_accuracy"],
        "tables": {name: table.rename_axis("way").reset_index().to_dict("records") for name, table in tables.items()},
        "histograms": {
            name: {
                kind: torch.histc(v[rows], bins, 0, 1).int().tolist()
                for kind, rows in (("right", right), ("wrong", ~right))
            }
            for name, v in values.items()
        },
        "environment": environment(state.images.device),
    }


def kept_division_report(config: TrainConfig, folder: str | Path) -> dict:
    """A `first_division_report` that is kept in `folder`, and read back while configuration and code are the same."""
    config = config.resolved()
    name = f"{in_file_name(config.dataset)}_{config.subset or 'all'}_{config.noise_words()}_seed{config.seed}.json"
    path = user_path(folder) / name
    report = stored_result(path, config)
    if is_current(report):
        reused(path)
    else:
        report = first_division_report(config)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(report, indent=1) + "\n")
    return report


def report_table(report: dict, name: str) -> pd.DataFrame:
    """One table of a `first_division_report`, as a DataFrame; its rows are named as they are now."""
    return pd.DataFrame(report["tables"][name]).set_index("way").rename_axis(None).rename(index=RENAMED)
