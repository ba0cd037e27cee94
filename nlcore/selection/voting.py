"""Anchors find the hard samples near them and vote on their labels.

Every search runs over blocks of one side, so memory grows with anchors + samples and never with their product. Features
are centred on the mean easy feature and normalised first: pooled ReLU features are otherwise all alike.
"""

import torch
import torch.nn.functional as F

from nlcore.data.datasets import rank_in_class

BLOCK = 40_000_000  # cosines computed at once: 160 MB


def centred_unit(features: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """Unit vectors (N, d) of features (N, d) minus the centre (d,)."""
    return F.normalize(features - centre, dim=1)


def nearest(queries: torch.Tensor, keys: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and rows of the k most similar keys (M, d) of each query (N, d), all unit vectors: two (N, k).

    k is cut to the number of keys.
    """
    k = min(k, len(keys))
    rows = max(1, BLOCK // max(1, len(keys)))
    found = [torch.topk(block @ keys.T, k, dim=1) for block in queries.split(rows)]
    if not found:
        return queries.new_empty(0, k), torch.empty(0, k, dtype=torch.int64, device=queries.device)
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def own_class_threshold(
    easy: torch.Tensor, easy_labels: torch.Tensor, anchors: torch.Tensor, anchor_labels: torch.Tensor, k: int
) -> float:
    """Median over easy samples of their k-th best cosine to the anchors of their own class (our reconstruction).

    The similarity above which an anchor may speak for a sample: as near as anchors usually are to easy samples.
    """
    kth = []
    for c in easy_labels.unique():
        own = anchors[anchor_labels == c]
        if len(own):
            kth.append(nearest(easy[easy_labels == c], own, k)[0][:, -1])
    return float(torch.cat(kth).median()) if kth else 1.0


def ballots_from_anchors(
    hard: torch.Tensor, anchors: torch.Tensor, threshold: float, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The paper's direction: each anchor (M, d) picks its one nearest hard sample (H, d), if similar enough.

    Returns rows and cosines of the up to k most similar anchors that picked each hard sample: two (H, k), -1 and -inf
    where fewer did.
    """
    similarity, pick = (
        (x.squeeze(1) for x in nearest(anchors, hard, 1)) if len(hard) and len(anchors) else (hard.new_empty(0),) * 2
    )
    chosen = torch.full((len(hard), k), -1, dtype=torch.int64, device=hard.device)
    cosines = torch.full((len(hard), k), -torch.inf, device=hard.device)
    voters = (similarity > threshold).nonzero().flatten()
    if len(voters) == 0:
        return chosen, cosines
    target = pick[voters]
    rank = rank_in_class(-similarity[voters], target, len(hard))  # the most similar anchor of a sample comes first
    first_k = rank < k
    chosen[target[first_k], rank[first_k]] = voters[first_k]
    cosines[target[first_k], rank[first_k]] = similarity[voters[first_k]]
    return chosen, cosines


def ballots_from_hard(
    hard: torch.Tensor, anchors: torch.Tensor, threshold: float, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The other direction: each hard sample (H, d) asks its k nearest anchors (M, d); those below the threshold stay
    silent.

    Returns rows and cosines as `ballots_from_anchors` does, with min(k, M) columns.
    """
    cosines, chosen = nearest(hard, anchors, k)
    silent = cosines <= threshold
    return chosen.masked_fill(silent, -1), cosines.masked_fill(silent, -torch.inf)


def count_votes(chosen: torch.Tensor, anchor_labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Votes for each class from chosen anchors (H, k), -1 being an abstention: (H, K) float32."""
    present = (chosen >= 0).float()
    labels = anchor_labels[chosen.clamp(min=0)] if len(anchor_labels) else chosen.clamp(min=0)
    return torch.zeros(len(chosen), num_classes, device=chosen.device).scatter_add(1, labels, present)


def neighbour_votes(
    unit: torch.Tensor, labels: torch.Tensor, num_classes: int, k: int, voters: torch.Tensor | None = None
) -> torch.Tensor:
    """Share of each label (N,) among the k samples most similar to each, itself among them: (N, K) float32.

    unit (N, d), unit vectors; of the samples `voters` (M,) alone, if they are given. Votes are counted block by block
    too: 50,000 samples with 200 neighbours have 10 million.
    """
    keys, key_labels = (unit, labels) if voters is None else (unit[voters], labels[voters])
    rows = max(1, BLOCK // max(1, len(keys)))
    found = [count_votes(nearest(block, keys, k)[1], key_labels, num_classes) for block in unit.split(rows)]
    return torch.cat(found) / min(k, len(keys))


def majority(
    votes: torch.Tensor, min_votes: float, min_share: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Label, share of the votes and verdict (accepted or not) of each row of votes (H, K): three (H,).

    Accepted from `min_votes` votes and `min_share` of them for one class; a tie is never accepted.
    """
    total = votes.sum(1)
    top = votes.topk(2, dim=1).values
    share = top[:, 0] / total.clamp(min=1e-12)
    accepted = (total >= min_votes) & (total > 0) & (share >= min_share) & (top[:, 0] > top[:, 1])
    return votes.argmax(1), share, accepted


def soft_votes(
    chosen: torch.Tensor, cosines: torch.Tensor, anchor_labels: torch.Tensor, num_classes: int, temperature: float
) -> torch.Tensor:
    """Share of each class among the chosen anchors (H, k), nearer ones counting exp(cosine / temperature): (H, K).

    A sample without any voter gets a uniform row (our reconstruction).
    """
    weight = (cosines / temperature).softmax(1).nan_to_num(0.0)  # a row of -inf alone is NaN
    labels = anchor_labels[chosen.clamp(min=0)] if len(anchor_labels) else chosen.clamp(min=0)
    votes = torch.zeros(len(chosen), num_classes, device=chosen.device).scatter_add(1, labels, weight)
    return torch.where(votes.sum(1, keepdim=True) > 0, votes, torch.full_like(votes, 1 / num_classes))


def estimate_transition(logits: torch.Tensor, given_labels: torch.Tensor) -> torch.Tensor:
    """T[c, k], the estimated share of given label k among samples of true class c: (K, K) rows summing to 1.

    T[c, k] = sum of p_c over samples given k / sum of p_c, with p = softmax(logits - log share of each given label): a
    network trained on noisy labels has learnt their frequencies, which would otherwise count twice (our
    reconstruction).
    """
    num_classes = logits.shape[1]
    prior = torch.bincount(given_labels, minlength=num_classes).float() / len(given_labels)
    p = (logits - prior.clamp(min=1e-6).log()).softmax(1)
    joint = p.new_zeros(num_classes, num_classes).index_add(0, given_labels, p).T
    return joint / joint.sum(1, keepdim=True).clamp(min=1e-12)


def with_transition(votes: torch.Tensor, transition: torch.Tensor, given_labels: torch.Tensor) -> torch.Tensor:
    """Votes (H, K) times the probability that each class would have got the given label, as rows that sum to 1."""
    joint = votes * transition.T[given_labels]
    return joint / joint.sum(1, keepdim=True).clamp(min=1e-12)


def surest(share: torch.Tensor, accepted: torch.Tensor, level: float) -> torch.Tensor:
    """Those accepted verdicts whose shares (H,) are largest and have a mean of at least `level`: (H,) bool."""
    order = share.masked_fill(~accepted, 0.0).argsort(descending=True, stable=True)
    count = torch.arange(1, len(share) + 1, device=share.device)
    sure = share[order].cumsum(0) / count >= level
    # The running mean falls, so the sure ones come first; rounding must not let a later one in again.
    kept = torch.zeros_like(accepted)
    kept[order] = sure.int().cummin(0).values.bool()
    return kept & accepted
