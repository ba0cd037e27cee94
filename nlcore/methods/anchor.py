"""Anchor Hallucination and Hard Sample Label Correction (Huang et al., arXiv 2407.07331).

    every epoch after warm-up
        1  easy samples: low loss, balanced over the classes
        2  a hallucinator learns to make anchors between the classes from pairs of easy samples
        3  anchors find hard samples near them and vote on their labels
        4  MixMatch with the easy and the corrected samples labelled, the other hard ones unlabelled

The steps are the paper's. Its numbers are our reconstruction, each a field of `AnchorConfig`.
"""

from dataclasses import dataclass

import torch

from nlcore.basics.chance import seeded
from nlcore.basics.errors import choose
from nlcore.basics.ranges import SHARE, Range, within
from nlcore.selection.division import Division, Snapshot, cap_every_class, with_every_class
from nlcore.selection.hallucination import (
    Anchors,
    describe_anchors,
    draw_pairs,
    hallucinate,
    interpolate,
    new_memory,
    train_hallucinator,
)
from nlcore.selection.mixture import low_component
from nlcore.selection.streams import agreement, lasting_opinion, min_max, prototype_loss
from nlcore.selection.voting import (
    ballots_from_anchors,
    ballots_from_hard,
    centred_unit,
    count_votes,
    estimate_transition,
    majority,
    own_class_threshold,
    soft_votes,
    surest,
    with_transition,
)

TITLE = "Anchor Hallucination"
SETS = ("easy", "corrected", "hard")
LABELLED = ("easy", "corrected")


@dataclass(frozen=True)
class AnchorConfig:
    """The defaults are the `tuned` preset.

    Attributes
    ----------
    easy_loss : what makes a sample easy, each split by a mixture. `ce`, the loss of the given label; `prototype`,
        cross-entropy of 10 cos to the class means of centred features; `both`, the mean of both probabilities.
    prototype_rounds : times that class means and easiness are computed from each other; `both` begins with the loss.
    trust_from : in an epoch in which the network predicts less than this share of the given labels the loss alone makes
        samples easy: most labels are wrong then, and so are class means.
    per_class_mixture : one mixture a given class instead of one for all.
    one_sided : no loss is so small that it is doubted again, see `nlcore.selection.mixture.Mixture.posterior`.
    tau : easy from this probability of the low-loss component.
    balance : keep at most the mean class's number of easy samples in each class, the easiest first.
    generator : `learned` hallucinator, or `interpolated` features (the comparison).
    lambda_p : where anchors lie: 1 = at the first parent, 0.5 = midway, where two classes claim one interpolated point.
    centred : cosines of the hallucinator's loss are taken around the mean easy feature.
    similarity_weight, norm_penalty : weights in the hallucinator's loss.
    hallucinator_steps : updates an epoch of 256 pairs each, scaled down for small sets.
    hallucinate_every : epochs between two phases of hallucinator training; in between it is used as it is.
    anchors_per_easy, max_anchors_per_class : anchors an epoch, the same number for every class.
    validity : only anchors that the classifier gives their own class may vote.
    direction : `anchor_to_hard`, anchors pick their nearest hard sample (paper); `hard_to_anchor`, hard samples theirs.
    voters : K, anchors that may vote on one sample.
    threshold : `own_class`, see `own_class_threshold`, or `none`.
    vote : `majority`; `soft` votes times the estimated transition; or `pooled`, the mean of these and the network's
        own probabilities: sure of what both are sure of, and too modest rather than too sure.
    vote_temperature : of soft votes.
    accept : smallest share of the votes (or posterior) of an accepted verdict.
    correct : use accepted verdicts; else every hard sample stays unlabelled.
    correct_from : share of the epochs after warm-up without corrections: at first hard samples are hardly known.
    as_sure_as_easy : of the accepted verdicts use the surest, as many as keep their mean share at the mean easiness of
        the easy samples: corrected labels shall not be worse than those they join.
    weight_by_easiness : trust easy labels by their easiness; else fully.
    keep_share : share of each given class that stays labelled whatever the mixture says (0 = off).
    """

    easy_loss: str = "both"
    prototype_rounds: int = within(4, Range(1))
    trust_from: float = within(0.3, SHARE)
    per_class_mixture: bool = False
    one_sided: bool = True
    tau: float = within(0.5, SHARE)
    balance: bool = True
    generator: str = "learned"
    lambda_p: float = within(0.75, SHARE)
    centred: bool = True
    similarity_weight: float = within(20.0, Range(0))
    norm_penalty: float = within(1.0, Range(0))
    hallucinator_steps: int = within(200, Range(1))
    hallucinate_every: int = within(3, Range(1))
    anchors_per_easy: int = within(5, Range(1))
    max_anchors_per_class: int = within(100, Range(1))
    validity: bool = False
    direction: str = "hard_to_anchor"
    voters: int = within(20, Range(1))
    threshold: str = "none"
    vote: str = "pooled"
    vote_temperature: float = within(0.1, Range(above=0))
    accept: float = within(0.9, SHARE)
    correct: bool = True
    correct_from: float = within(0.6, SHARE)
    as_sure_as_easy: bool = True
    weight_by_easiness: bool = True
    keep_share: float = within(0.1, SHARE)

    def __post_init__(self):
        choose("easy_loss", self.easy_loss, ("prototype", "ce", "both"))
        choose("generator", self.generator, ("learned", "interpolated"))
        choose("direction", self.direction, ("anchor_to_hard", "hard_to_anchor"))
        choose("threshold", self.threshold, ("own_class", "none"))
        choose("vote", self.vote, ("majority", "soft", "pooled"))


PRESETS = {
    "tuned": AnchorConfig(),
    "paper": AnchorConfig(
        easy_loss="ce",
        prototype_rounds=1,
        trust_from=0.0,
        one_sided=False,
        lambda_p=0.75,
        centred=False,
        similarity_weight=1.0,
        norm_penalty=0.0,
        hallucinate_every=1,
        max_anchors_per_class=10**9,
        validity=True,
        direction="anchor_to_hard",
        voters=10,
        threshold="own_class",
        vote="majority",
        accept=0.7,
        correct_from=0.0,
        as_sure_as_easy=False,
        keep_share=0.0,
    ),
}


def recipe(config) -> tuple[tuple[dict, str], ...]:
    """Targets from weak views, training on strong ones, as UNICON (CVPR 2022) does: in the `paper` preset."""
    return (({"strong": True}, "UNICON (CVPR 2022)"),) if config.preset == "paper" else ()


def divide(
    snapshot: Snapshot, given_labels: torch.Tensor, classify, config: AnchorConfig, memory: dict, generator
) -> tuple[Division, dict]:
    """Steps 1 to 3. `classify` maps features to logits; `memory` keeps the hallucinator and the opinions so far, and
    counts the divisions.

    The report beside the division holds the verdicts ("verdict_labels", "verdict_share": (N,), NaN share where nobody
    voted or the sample is easy), the "anchors", and `describe_anchors` ("anchor_quality").
    """
    easiness, easy = select_easy(snapshot, given_labels, config)
    labelled_easy, hard = easy.nonzero().flatten(), (~easy).nonzero().flatten()
    anchors, quality = make_anchors(snapshot, given_labels, labelled_easy, classify, config, memory, generator)

    verdict, accepted = given_labels.clone(), torch.zeros_like(easy)
    verdict_share = torch.full_like(easiness, torch.nan)
    if len(hard) and len(anchors.labels):
        labels, share, accept = vote(snapshot, given_labels, labelled_easy, hard, anchors, config)
        if config.as_sure_as_easy:
            accept = surest(share, accept, float(easiness[easy].mean()))
        verdict_share[hard] = share
        verdict[hard] = labels
        accepted[hard] = accept & (config.correct and snapshot.progress >= config.correct_from)
    memory["divisions"] = memory.get("divisions", 0) + 1

    membership = torch.full_like(given_labels, SETS.index("hard"))
    membership[easy], membership[accepted] = SETS.index("easy"), SETS.index("corrected")
    trust = easiness if config.weight_by_easiness else torch.ones_like(easiness)
    weight = torch.where(accepted, verdict_share.nan_to_num(0.0), trust)
    target = torch.where(accepted, verdict, given_labels)
    clean_prob = lasting_opinion(snapshot, given_labels, easiness, config.trust_from, memory)
    division = Division(SETS, membership, easy | accepted, target, weight, clean_prob)
    report = {"verdict_labels": verdict, "verdict_share": verdict_share, "anchors": anchors, "anchor_quality": quality}
    return with_every_class(division, snapshot, given_labels, easiness, "easy", config.keep_share), report


def select_easy(
    snapshot: Snapshot, given_labels: torch.Tensor, config: AnchorConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Step 1: easiness w (N,) float32, and the easy set (N,) bool."""
    num_classes = snapshot.logits.shape[1]
    groups = (given_labels, num_classes) if config.per_class_mixture else ()

    def easiness_by(losses: torch.Tensor) -> torch.Tensor:
        return low_component(min_max(losses.double()), *groups, one_sided=config.one_sided).float()

    easiness = by_loss = easiness_by(snapshot.losses)
    if config.easy_loss != "ce" and agreement(snapshot.logits, given_labels) >= config.trust_from:
        weight = by_loss if config.easy_loss == "both" else None
        for _ in range(config.prototype_rounds):
            losses = prototype_loss(snapshot.features, given_labels, num_classes, weight)
            easiness = weight = easiness_by(losses)
            if config.easy_loss == "both":
                easiness, weight = (by_loss + easiness) / 2, by_loss * easiness
    easy = easiness > config.tau
    if config.balance:
        easy = cap_every_class(easy, easiness, given_labels, num_classes)
    return easiness, easy


def make_anchors(
    snapshot: Snapshot,
    given_labels: torch.Tensor,
    easy: torch.Tensor,
    classify,
    config: AnchorConfig,
    memory: dict,
    generator: torch.Generator,
) -> tuple[Anchors, dict]:
    """Step 2: train the hallucinator (phase one) and make this epoch's anchors; easy (E,): rows of easy samples."""
    features, labels = snapshot.features[easy], given_labels[easy]
    num_classes = max(1, len(labels.unique()))
    per_class = min(config.max_anchors_per_class, -(-config.anchors_per_easy * len(easy) // num_classes))
    if config.generator == "interpolated":
        anchors = interpolate(features, labels, draw_pairs(labels, per_class, generator), config.lambda_p)
    else:
        fresh = "hallucinator" not in memory
        if fresh:
            with seeded(int(torch.randint(2**31, (1,), generator=generator, device=generator.device))):
                memory |= new_memory(features.shape[1], bool((features >= 0).all()), features.device)
        if fresh or memory.get("divisions", 0) % config.hallucinate_every == 0:
            steps = min(config.hallucinator_steps, -(-config.anchors_per_easy * len(easy) // 256))
            train_hallucinator(
                memory["hallucinator"],
                memory["optimiser"],
                features,
                labels,
                classify,
                steps,
                generator,
                lambda_p=config.lambda_p,
                similarity_weight=config.similarity_weight,
                centre=features.mean(0) if config.centred else None,
                norm_penalty=config.norm_penalty,
            )
        anchors = hallucinate(memory["hallucinator"], features, labels, draw_pairs(labels, per_class, generator))
    if len(anchors.labels) == 0:
        return anchors, {}
    with torch.no_grad():
        logits = classify(anchors.features)
    quality = describe_anchors(anchors, features, logits, labels)
    if config.validity:
        valid = logits.argmax(1) == anchors.labels
        quality["valid"] = float(valid.float().mean())
        anchors = Anchors(anchors.features[valid], anchors.labels[valid], anchors.parents[valid])
    return anchors, quality


def restore_memory(stored: dict, device: torch.device) -> dict:
    """The memory of a checkpoint, in which the hallucinator and its optimiser are state dicts."""
    if "hallucinator" not in stored:
        return stored
    dim = len(stored["hallucinator"]["layers.2.bias"])
    with seeded(0):  # whatever it starts from is overwritten
        memory = new_memory(dim, stored["non_negative"], device)
    for name in ("hallucinator", "optimiser"):
        memory[name].load_state_dict(stored[name])
    return stored | memory


def vote(
    snapshot: Snapshot,
    given_labels: torch.Tensor,
    easy: torch.Tensor,
    hard: torch.Tensor,
    anchors: Anchors,
    config: AnchorConfig,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Step 3: label, share and acceptance of the verdict on each hard sample (H,); easy and hard are rows."""
    num_classes = snapshot.logits.shape[1]
    centre = snapshot.features[easy].mean(0)
    queries = centred_unit(snapshot.features[hard], centre)
    keys = centred_unit(anchors.features, centre)
    threshold = -torch.inf
    if config.threshold == "own_class":
        easy_unit = centred_unit(snapshot.features[easy], centre)
        threshold = own_class_threshold(easy_unit, given_labels[easy], keys, anchors.labels, config.voters)
    search = ballots_from_anchors if config.direction == "anchor_to_hard" else ballots_from_hard
    chosen, cosines = search(queries, keys, threshold, config.voters)
    if config.vote == "majority":
        return majority(count_votes(chosen, anchors.labels, num_classes), config.voters / 2, config.accept)
    votes = soft_votes(chosen, cosines, anchors.labels, num_classes, config.vote_temperature)
    posterior = with_transition(votes, estimate_transition(snapshot.logits, given_labels), given_labels[hard])
    if config.vote == "pooled":
        posterior = (posterior + snapshot.probs[hard]) / 2
    share, labels = posterior.max(1)
    return labels, share, (share >= config.accept) & (chosen >= 0).any(1)
