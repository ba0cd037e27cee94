"""What could fool an audit, each with a number: rare classes, imbalance, near-duplicates, two kinds of samples in one.

None of them is silently put right: whoever reads the report has to know.
"""

import numpy as np
import torch
import torch.nn.functional as F

from nlcore.audit.calibration import ISSUE_BELOW
from nlcore.audit.evidence import FOLDS, HOPELESS, NEIGHBOURS, directions, kappa

RARE = 20  # samples: fewer have no twenty neighbours of their own
IMBALANCE = 10  # the largest class over the smallest, from which it is named
SAME = 1e-3  # squared distance, as a share of the usual one to the nearest, at which samples are one
SPREAD = 0.35  # silhouette from which two clusters are two kinds of data: classes of one kind stay below it
GROUPED = 0.75  # of a cluster in classes that lie in it for the most part: it is a group of classes, some labels wrong
IN_COMMON = 0.2  # cosine of word counts below which two kinds are: two subjects of a language have 0.4 and more
LOOKED_AT = 5000  # samples that kinds are looked for among


def concerns(
    vectors: torch.Tensor,
    labels: torch.Tensor,
    class_names: tuple[str, ...],
    neighbours: torch.Tensor,
    opinion: torch.Tensor,
    label_quality: torch.Tensor,
) -> tuple[str, ...]:
    """A sentence for each concern that there is.

    vectors : (N, d) as they were compared. neighbours : (N, k) rows of the nearest. opinion : (N, K).
    label_quality : (N,).
    """
    found = [
        _rare(labels, class_names, label_quality),
        _imbalance(labels, class_names, label_quality),
        _duplicates(vectors, labels, neighbours),
        _kinds(vectors, labels, label_quality),
        _hopeless(labels, opinion),
    ]
    return tuple(sentence for sentence in found if sentence)


def _rare(labels: torch.Tensor, class_names: tuple[str, ...], label_quality: torch.Tensor) -> str | None:
    """Classes of so few samples that an error and a rare case look alike."""
    counts = torch.bincount(labels, minlength=len(class_names))
    rare = (counts < RARE).nonzero().flatten()
    if len(rare) == 0:
        return None
    members = (counts < RARE)[labels]
    doubted = int((label_quality[members] < ISSUE_BELOW).sum())
    names = ", ".join(class_names[k] for k in rare[:5].tolist()) + (" and others" if len(rare) > 5 else "")
    return (
        f"{len(rare)} of {len(class_names)} classes ({names}) have fewer than {RARE} samples: {int(members.sum())} "
        f"samples in all, of which {doubted} are called wrong. Rare cases look like errors: judge these by eye."
    )


def _imbalance(labels: torch.Tensor, class_names: tuple[str, ...], label_quality: torch.Tensor) -> str | None:
    """A class much smaller than the largest, and whether its labels are doubted more often."""
    counts = torch.bincount(labels, minlength=len(class_names))
    small, large = int(counts.argmin()), int(counts.argmax())
    if counts[large] < IMBALANCE * counts[small]:
        return None
    doubted = [float((label_quality[labels == k] < ISSUE_BELOW).double().mean()) for k in (small, large)]
    return (
        f"Class {class_names[large]} is {counts[large] / counts[small]:.0f} times as large as {class_names[small]}. Of "
        f"the labels of the small one {doubted[0]:.0%} are called wrong, of the large one {doubted[1]:.0%}: what is "
        "seldom seen is doubted more easily."
    )


def _duplicates(vectors: torch.Tensor, labels: torch.Tensor, neighbours: torch.Tensor) -> str | None:
    """Samples that are nearly the same as another: each vouches for the other, whatever the label."""
    nearest = neighbours[:, 0]
    distance = torch.cat(
        [
            (vectors[rows] - vectors[nearest[rows]]).square().sum(1)
            for rows in torch.arange(len(vectors)).split(LOOKED_AT)
        ]
    )
    usual = float(distance[distance > 0].median()) if bool((distance > 0).any()) else 0.0
    same = distance <= SAME * usual
    if not bool(same.any()):
        return None
    apart = int((labels != labels[nearest])[same].sum())
    return (
        f"{int(same.sum())} samples are nearly the same as another one, and {apart} of them have another label than "
        f"it. Copies speak for each other's label, across the {FOLDS} folds and among the {NEIGHBOURS} neighbours: "
        "remove them first if they are many."
    )


def _kinds(vectors: torch.Tensor, labels: torch.Tensor, label_quality: torch.Tensor) -> str | None:
    """Two kinds of samples, drawings among photographs for example: clusters that are not just groups of classes."""
    from sklearn.metrics import silhouette_score

    rows = _spread_out(len(vectors))
    part = vectors[rows].numpy()
    kind = _smaller_half(part)
    if kind is None:
        return None
    ours, theirs = (torch.bincount(labels[rows][of], minlength=int(labels.max()) + 1) for of in (kind, ~kind))
    if int(ours[ours > theirs].sum()) >= GROUPED * int(ours.sum()):
        return None
    spread = silhouette_score(part, kind.numpy(), sample_size=min(len(part), 1000), random_state=0)
    if spread < SPREAD:
        return None
    return f"The samples fall into two kinds{_how_doubted(kind, label_quality[rows], f' (silhouette {spread:.2f})')}"


def kinds_of_text(texts: tuple[str, ...], vectors: torch.Tensor, label_quality: torch.Tensor) -> str | None:
    """Two kinds of texts that have hardly a word in common, in two languages for example; vectors (N, d) are theirs.

    The vectors alone do not tell: two subjects of one language lie as far apart, but both say "the" and "of".
    """
    from sklearn.feature_extraction.text import CountVectorizer

    rows = _spread_out(len(texts))
    kind = _smaller_half(directions(vectors[rows]).numpy())
    if kind is None:
        return None
    words = CountVectorizer()
    counts = words.fit_transform([texts[row] for row in rows.tolist()])
    often = [torch.from_numpy(np.asarray(counts[of.numpy()].sum(0)).ravel()).double() for of in (kind, ~kind)]
    if float(F.cosine_similarity(often[0], often[1], dim=0)) >= IN_COMMON:
        return None
    names = words.get_feature_names_out()
    usual = [", ".join(names[of.topk(min(3, len(of))).indices.numpy()]) for of in often]
    return (
        "The texts are of two kinds that have hardly a word in common"
        f"{_how_doubted(kind, label_quality[rows], f' (usual words: {usual[0]}; {usual[1]})')}"
    )


def _spread_out(n: int) -> torch.Tensor:
    """Rows of n that kinds are looked for among."""
    return torch.linspace(0, n - 1, min(n, LOOKED_AT)).long().unique()


def _smaller_half(part: np.ndarray) -> torch.Tensor | None:
    """Which of the rows (M, d) are in the smaller of two clusters (M,); None of a handful of rows, or of a handful."""
    from sklearn.cluster import KMeans

    if len(part) < 2 * RARE:
        return None
    kind = torch.from_numpy(KMeans(2, n_init=3, random_state=0).fit_predict(part)).bool()
    kind = ~kind if float(kind.double().mean()) > 0.5 else kind
    return kind if float(kind.double().mean()) >= 0.01 else None


def _how_doubted(kind: torch.Tensor, label_quality: torch.Tensor, how: str) -> str:
    """The rest of a sentence on two kinds: how large they are, and how often the labels of each are called wrong."""
    share = float(kind.double().mean())
    doubted = [float((label_quality[members] < ISSUE_BELOW).double().mean()) for members in (kind, ~kind)]
    return (
        f", {share:.0%} and {1 - share:.0%}{how}. Of the smaller kind {doubted[0]:.0%} of the labels are called wrong, "
        f"of the larger {doubted[1]:.0%}: audit them apart if they come from different sources."
    )


def _hopeless(labels: torch.Tensor, opinion: torch.Tensor) -> str | None:
    """Labels that the inputs do not tell."""
    foretold = kappa(opinion, labels)
    if foretold >= HOPELESS:
        return None
    agreed = float((opinion.argmax(1) == labels).double().mean())
    return (
        f"The models agree with {agreed:.0%} of the labels, hardly more than by chance (kappa {foretold:.2f}): either "
        "most are wrong, or the inputs do not tell the classes apart. So only what must be wrong is called wrong; the "
        "upper end of the interval counts all that may be. Trust the order more than the numbers."
    )
