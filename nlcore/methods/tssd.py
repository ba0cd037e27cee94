"""TSSD: Two-Stream Sample Distillation (Bai et al., arXiv 2404.10499).

    every epoch after warm-up
        PSD   loss stream and feature stream agree -> certain positives P, certain negatives N; the rest is uncertain, U
        MSP   a meta classifier taught on the certain samples mines semi-hard ones, H, from U
        SSL   MixMatch with P and H labelled, everything else unlabelled

The three steps are the paper's. Every number and the inputs of the meta classifier are our reconstruction, and a field
of `TSSDConfig`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from nlcore.basics.errors import choose
from nlcore.basics.ranges import SHARE, Range, within
from nlcore.selection.division import Division, Snapshot, with_every_class
from nlcore.selection.purification import (
    MIN_SIDE,
    MOST_EXAMPLES,
    drawn,
    fit_meta_classifier,
    likely_other_label,
    meta_features,
    purification_score,
    random_other_label,
)
from nlcore.selection.streams import (
    COMBINATIONS,
    PROTOTYPE_SCALE,
    agreement,
    certain_sets,
    class_margin,
    class_means,
    feature_stream,
    lasting_opinion,
    loss_stream,
    min_max,
    prototype_loss,
    row_sums,
    undivided_classes,
)
from nlcore.selection.voting import estimate_transition

TITLE = "TSSD"
SETS = ("positive", "mined", "negative", "uncertain")
LABELLED = ("positive", "mined")


@dataclass(frozen=True)
class TSSDConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    tau : threshold of both streams; certain means above tau or below 1 - tau.
    combination : how the streams combine, see `nlcore.selection.streams.certain_sets`.
    per_class_from : one loss mixture a class from so many samples a class; None = one for all.
    one_sided : no loss or score is so good that it is doubted again, see `nlcore.selection.mixture.Mixture.posterior`.
    feature_score : how well a sample sits in its given class. `prototype`, cross-entropy of 20 cos to the class means
        of centred features; `margin` of the cosine to the next class mean; or the `row_sum` of the class's affinity
        matrix (PSDC).
    feature_per_class : one mixture of the feature scores for each given class, as in PSDC; else one for all, which
        the first two scores allow, being of one scale.
    feature_rounds : times that class means and probabilities are computed from each other; the means of the first round
        are weighted by the loss stream, those of the later ones by both streams. Row sums have no means.
    min_distance : a class whose two components of the feature score are nearer than this (Ashman's D) has nothing to
        divide: all its samples count as clean in both streams. 0 = divide every class.
    meta : what the meta classifier learns from. `synthetic`: positives, and positives given a random other label;
        `certain`: positives and negatives (the paper's summaries); `golden`: held-out samples known to be clean, and
        the same with a random other label; `off`: no mining.
    negatives : where the wrong labels of synthetic examples come from. `transition`: drawn as labels of that class go
        wrong, by the estimated transition, since confusable classes are what has to be told apart; `uniform`.
    meta_scalars : describe samples by loss, probabilities and cosines too, not by feature products alone.
    meta_passes : passes over its examples, from scratch every epoch.
    mine_above : score above which an uncertain sample is mined. The classifier learns from as many right labels as
        wrong ones, and from clear cases: among the uncertain its scores are too high.
    trust_from : in an epoch in which the network predicts less than this share of the given labels, the loss stream
        divides alone and nothing is mined: where most labels are wrong, class means are those of wrong labels.
    golden : size of the golden set, taken out of the training data; needs meta = `golden`.
    keep_share : share of each given class that stays labelled whatever the streams say (0 = off).
    """

    tau: float = within(0.5, SHARE)
    combination: str = "agreement"
    per_class_from: int | None = within(None, Range(1))
    one_sided: bool = True
    feature_score: str = "prototype"
    feature_per_class: bool = False
    feature_rounds: int = within(4, Range(1))
    min_distance: float = within(0.0, Range(0))
    meta: str = "synthetic"
    negatives: str = "transition"
    meta_scalars: bool = False
    meta_passes: int = within(5, Range(1))
    mine_above: float = within(0.7, SHARE)
    trust_from: float = within(0.3, SHARE)
    golden: int = within(0, Range(0))
    keep_share: float = within(0.1, SHARE)

    def __post_init__(self):
        choose("combination", self.combination, COMBINATIONS)
        choose("feature_score", self.feature_score, ("prototype", "margin", "row_sum"))
        choose("meta", self.meta, ("synthetic", "certain", "golden", "off"))
        choose("negatives", self.negatives, ("transition", "uniform"))


PRESETS = {
    "tuned": TSSDConfig(),
    "paper": TSSDConfig(
        per_class_from=None,
        one_sided=False,
        feature_score="row_sum",
        feature_per_class=True,
        min_distance=0.0,
        meta="certain",
        negatives="uniform",
        meta_scalars=True,
        mine_above=0.5,
        trust_from=0.0,
        keep_share=0.0,
    ),
}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """Targets from weak views, training on strong ones, as UNICON (CVPR 2022) does: in the `paper` preset."""
    return (({"strong": True}, "UNICON (CVPR 2022)"),) if config.preset == "paper" else ()


def divide(
    snapshot: Snapshot, given_labels: torch.Tensor, classify, config: TSSDConfig, memory: dict, generator
) -> tuple[Division, dict]:
    """One round of PSD and MSP.

    `memory` keeps the opinions so far; `memory["golden"]` holds (Snapshot, true labels) of a golden set. The report
    beside the division has both streams' probabilities ("p_loss", "p_feature", "scores": tensors of (N,)) and the meta
    classifier's held-out AUC ("meta_auc").
    """
    p_loss, p_feature, positive, negative = psd(snapshot, given_labels, config)
    trust = (p_loss + p_feature) / 2
    uncertain = ~(positive | negative)
    score, auc = msp(snapshot, given_labels, positive, negative, config, memory.get("golden"), generator)
    mined = uncertain & (score > config.mine_above)

    membership = torch.full_like(given_labels, SETS.index("uncertain"))
    for name, members in (("positive", positive), ("negative", negative), ("mined", mined)):
        membership[members] = SETS.index(name)
    weight = torch.where(mined, score, trust)
    clean_prob = lasting_opinion(snapshot, given_labels, trust, config.trust_from, memory)
    division = Division(SETS, membership, positive | mined, given_labels, weight.nan_to_num(0.0), clean_prob)
    report = {"p_loss": p_loss, "p_feature": p_feature, "scores": score, "meta_auc": auc}
    return with_every_class(division, snapshot, given_labels, trust, "positive", config.keep_share), report


def psd(snapshot: Snapshot, given_labels: torch.Tensor, config: TSSDConfig):
    """Parallel Sample Division: p_loss, p_feature (N,) float32, certain positives, certain negatives (N,) bool."""
    num_classes = snapshot.logits.shape[1]
    p_loss = loss_stream(snapshot.losses, given_labels, num_classes, config.per_class_from, config.one_sided)
    if agreement(snapshot.logits, given_labels) < config.trust_from:
        return p_loss, p_loss, p_loss > config.tau, p_loss < 1 - config.tau
    weight = p_loss
    for _ in range(1 if config.feature_score == "row_sum" else config.feature_rounds):
        similarity = feature_similarity(snapshot.features, given_labels, num_classes, weight, config.feature_score)
        p_feature = feature_stream(similarity, given_labels, num_classes, config.feature_per_class, config.one_sided)
        weight = p_loss * p_feature
    believed = p_loss, p_feature
    if config.min_distance:  # the sets alone: the probabilities keep the order of an undivided class's labels
        undivided = undivided_classes(similarity, given_labels, num_classes, config.min_distance)[given_labels]
        believed = (p.masked_fill(undivided, 1.0) for p in believed)
    values = torch.stack([min_max(snapshot.losses), 1 - min_max(similarity)], 1)
    positive, negative = certain_sets(*believed, config.tau, config.combination, values)
    return p_loss, p_feature, positive, negative


def feature_similarity(
    features: torch.Tensor, given_labels: torch.Tensor, num_classes: int, weight: torch.Tensor, score: str
) -> torch.Tensor:
    """How well features (N, d) sit in their given class, (N,); class means are weighted by `weight` (N,)."""
    if score == "row_sum":
        return row_sums(features, given_labels, num_classes)
    if score == "margin":
        return class_margin(features, given_labels, num_classes, weight)
    return -prototype_loss(features, given_labels, num_classes, weight, PROTOTYPE_SCALE)


def msp(
    snapshot: Snapshot,
    given_labels: torch.Tensor,
    positive: torch.Tensor,
    negative: torch.Tensor,
    config: TSSDConfig,
    golden: tuple[Snapshot, torch.Tensor] | None,
    generator: torch.Generator,
) -> tuple[torch.Tensor, float]:
    """Meta Sample Purification: the score of every sample, (N,) float32, and the held-out AUC.

    All NaN, which mines nothing, when it is off, when the network contradicts too many labels (`trust_from`), or when
    one side has too few examples: 100, or 1 % of a smaller set's size but at least 10.
    """
    nothing = torch.full_like(snapshot.losses, torch.nan)
    if config.meta == "off" or agreement(snapshot.logits, given_labels) < config.trust_from:
        return nothing, float("nan")
    num_classes = snapshot.logits.shape[1]
    means = class_means(F.normalize(snapshot.features, dim=1), given_labels, num_classes, positive.float())

    def other(labels: torch.Tensor) -> torch.Tensor:
        if config.negatives == "uniform":
            return random_other_label(labels, num_classes, generator)
        return likely_other_label(labels, estimate_transition(snapshot.logits, given_labels), generator)

    def describe(source: Snapshot, labels: torch.Tensor, rows=slice(None)) -> torch.Tensor:
        return meta_features(source.features[rows], source.logits[rows].softmax(1), labels, means, config.meta_scalars)

    if config.meta == "golden":
        source, labels = golden
        clean, noisy = describe(source, labels), describe(source, other(labels))
    else:
        right = drawn(positive, generator)
        labels = given_labels[right]
        clean = describe(snapshot, labels, right)
        if config.meta == "synthetic":
            noisy = describe(snapshot, other(labels), right)
        else:
            wrong = drawn(negative, generator)
            noisy = describe(snapshot, given_labels[wrong], wrong)
    smallest = min(MIN_SIDE, max(10, len(given_labels) // 100))
    if min(len(clean), len(noisy)) < smallest:
        return nothing, float("nan")
    classifier, auc = fit_meta_classifier(clean, noisy, config.meta_passes, generator)
    blocks = torch.arange(len(given_labels), device=given_labels.device).split(MOST_EXAMPLES)
    scores = [purification_score(classifier, describe(snapshot, given_labels[rows], rows)) for rows in blocks]
    return torch.cat(scores), auc
