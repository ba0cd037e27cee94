"""What each sample's label should be, in the opinion of three models none of which has seen the given one.

    linear       a linear classifier that was trained on other folds
    neighbours   the labels of the samples most like it, its own not among them
    network      a method of this package, trained on other folds; it leaves the labels that it suspects out

The first two compare samples by standardised columns or by directions, whichever foretells labels better, and are mixed
as well as they foretell labels that they have not seen. With the network they find the labels that are surely wrong;
then they look again, without these, and are mixed with the network as well as each foretells the labels that can be
believed. Where all together hardly foretell labels, the one that foretells them best gets half of the say: most of what
the others add is noise (our reconstruction; the chapter "Clean your own data" says what each part is worth).
"""

import numpy as np
import torch
import torch.nn.functional as F

from nlcore.basics.chance import stream
from nlcore.basics.errors import InputError
from nlcore.data.datasets import rank_in_class
from nlcore.selection.voting import BLOCK

FOLDS = 4
FEW, FOLDS_OF_FEW = 1000, 10  # up to so many samples a linear classifier needs each of them, and costs little
NEIGHBOURS = 20
VOTERS = 20_000  # samples that are asked as neighbours at most, so that a million samples cost twenty times 50,000
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the linear classifier's fit against its penalty: scikit-learn's C
CHOSEN_ON = 4000  # samples that the strength and the view are chosen on
LEARNT_FROM = 40_000  # samples that the linear classifier of a fold learns from at most
SURELY_BETTER = 3  # standard errors by which directions have to be better than columns
NETWORK_SHARE = 0.5  # weight of the network's opinion at most
HOPELESS = 0.4  # kappa below which labels are hardly foretold: most are wrong, or the inputs do not tell the classes
SURELY_WRONG = 0.25  # a label this much less probable than the most probable one does not vote again


def standardised(vectors: torch.Tensor) -> torch.Tensor:
    """Columns of (N, d) with mean 0 and deviation 1, float32; one that is the same everywhere becomes 0."""
    vectors = vectors.float()
    deviation, mean = torch.std_mean(vectors, 0, correction=0)
    largest = torch.maximum(vectors.amax(0), -vectors.amin(0))  # whatever the unit, a column of 1e-15 is as good
    deviation = deviation.masked_fill(deviation <= 1e-6 * largest, torch.inf)
    return (vectors - mean).div_(deviation)  # one copy of a million vectors, not two


def require_differences(vectors: torch.Tensor, what: str) -> None:
    """Refuse samples (N, ...) that are all the same: nothing could be said of any label, and all would be suspicious.

    Raises
    ------
    InputError : every row is the same.
    """
    if len(vectors) > 1 and bool((vectors.amax(0) == vectors.amin(0)).all()):
        raise InputError(f"{what} are the same in every row: nothing tells the classes apart")


def directions(vectors: torch.Tensor) -> torch.Tensor:
    """Rows of (N, d) at one length, then centred, and scaled by one number for all to a mean square of 1, float32.

    Distances are those of cosines, and a column counts by its size: the many small ones that a text has, or an
    embedding, stay small.
    """
    rows = vectors.to(torch.float32, copy=True)  # the only copy of a million vectors, whatever their type
    rows.div_(rows.norm(dim=1, keepdim=True).clamp(min=1e-12))
    rows -= rows.mean(0)
    return rows.div_((rows.norm() / rows.numel() ** 0.5).clamp(min=1e-12))


def best_by_direction(vectors: torch.Tensor, labels: torch.Tensor, num_classes: int, seed: int) -> bool:
    """Whether neighbours by direction foretell labels better than neighbours by standardised columns, on a part.

    Columns of a table have units, and all count alike; those of texts and embeddings have one unit, and sizes that say
    what they are worth. Labels tell the two apart, even noisy ones. What is better by chance alone stays with its
    columns.
    """
    part = some(len(labels), CHOSEN_ON, seed)
    seen, given, everyone = vectors[part], labels[part], torch.arange(len(part))
    by_direction, by_column = (
        given_label_prob(neighbour_votes(nearest_others(view(seen), everyone, NEIGHBOURS), given, num_classes), given)
        for view in (directions, standardised)
    )
    gain = by_direction.log() - by_column.log()
    return float(gain.mean()) > SURELY_BETTER * float(gain.std()) / len(part) ** 0.5


class Outside:
    """The linear classifier and the neighbours, asked about every sample, as often as there are other votes.

    Attributes
    ----------
    neighbours : (N, k) int64, the samples most like each, nearest first, itself never among them.
    """

    def __init__(self, vectors: torch.Tensor, labels: torch.Tensor, num_classes: int, seed: int):
        """vectors (N, d) float32, by standardised columns or by directions; labels (N,) int64 in [0, K)."""
        self.vectors, self.labels, self.num_classes, self.seed = vectors, labels, num_classes, seed
        self.neighbours = nearest_others(vectors, some(len(labels), VOTERS, seed), NEIGHBOURS)
        self.strength = choose_strength(vectors, labels, num_classes, seed)
        self.linear_share: float | None = None  # in the mixture of the two, found when they are first asked

    def alone(self, votes: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """What each of the two says: two (N, K) float64; `votes` (N,) bool: which labels count, None = all."""
        count = FOLDS_OF_FEW if len(self.labels) <= FEW else FOLDS
        linear = out_of_fold(self.vectors, self.labels, self.num_classes, self.strength, self.seed, votes, count)
        return linear, neighbour_votes(self.neighbours, self.labels, self.num_classes, votes)

    def opinion(self, votes: torch.Tensor | None = None) -> torch.Tensor:
        """Their mixture (N, K) float64, of the shares that were best when they were first asked."""
        linear, near = self.alone(votes)
        if self.linear_share is None:
            self.linear_share = mixture_share(linear, near, self.labels)
        return self.linear_share * linear + (1 - self.linear_share) * near


def judged(outside: Outside, network: torch.Tensor) -> torch.Tensor:
    """The final opinion (N, K) float64 from the two outsiders and the network's opinion (N, K)."""
    labels = outside.labels
    both = (outside.opinion() + network) / 2
    votes = given_label_prob(both, labels) >= SURELY_WRONG * both.amax(1)
    again = outside.opinion(votes)
    # As well as they foretell labels that can be believed: who foretells what is wrong knows people's mistakes.
    share = min(NETWORK_SHARE, mixture_share(network[votes], again[votes], labels[votes]))
    final = (1 - share) * again + share * network
    if kappa(final, labels) >= HOPELESS:
        return final
    return (final + max(*outside.alone(), network, key=lambda opinion: foretold(opinion, labels))) / 2


def kappa(opinion: torch.Tensor, labels: torch.Tensor) -> float:
    """How often an opinion (N, K) foretells labels (N,): Cohen's kappa, 1 = always, 0 = as often as by chance."""
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(opinion.argmax(1).numpy(), labels.numpy()))


def foretold(opinion: torch.Tensor, labels: torch.Tensor) -> float:
    """How well an opinion (N, K) foretells labels (N,): mean logarithm of their probabilities, of which none counts as
    less than a thousandth."""
    return float(given_label_prob(opinion, labels).clamp(min=1e-3).log().mean())


def given_label_prob(opinion: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Probability (N,) of each given label, of an opinion (N, K): cleanlab's self-confidence."""
    return opinion.gather(1, labels[:, None]).squeeze(1)


def mixture_share(first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the first opinion (N, K) in the mixture of two under which the labels are most probable."""
    one, two = (given_label_prob(opinion, labels).clamp(min=1e-9) for opinion in (first, second))
    share = 0.5
    for _ in range(50):  # expectation-maximisation with one parameter
        share = float((share * one / (share * one + (1 - share) * two)).mean())
    return share


def folds(labels: torch.Tensor, num_classes: int, count: int, seed: int) -> torch.Tensor:
    """The fold (N,) of each sample; every class is spread evenly over the folds."""
    generator = torch.Generator().manual_seed(stream(seed, "folds"))
    order = torch.rand(len(labels), generator=generator, dtype=torch.float64)
    first = torch.randint(count, (num_classes,), generator=generator)  # small classes must not all begin at fold 0
    return (rank_in_class(order, labels, num_classes) + first[labels]) % count


def choose_strength(vectors: torch.Tensor, labels: torch.Tensor, num_classes: int, seed: int) -> float:
    """The strength of a linear classifier with the smallest loss on labels that it has not seen, on a part of them."""
    part = some(len(labels), CHOSEN_ON, seed)
    chosen, best = STRENGTHS[0], np.inf
    for strength in STRENGTHS:
        probs = out_of_fold(vectors[part], labels[part], num_classes, strength, seed)
        loss = -float(given_label_prob(probs, labels[part]).clamp(min=1e-9).log().mean())
        if loss >= best:
            break
        chosen, best = strength, loss
    return chosen


def out_of_fold(
    vectors: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    strength: float,
    seed: int,
    votes: torch.Tensor | None = None,
    count: int = FOLDS,
) -> torch.Tensor:
    """Probabilities (N, K) float64 of `count` logistic regressions, each asked about the fold that it has not seen."""
    fold = folds(labels, num_classes, count, seed)
    learnt = torch.ones_like(fold, dtype=torch.bool) if votes is None else votes
    probs = torch.zeros(len(labels), num_classes, dtype=torch.float64)
    for number in range(count):
        inside, outside = ((fold != number) & learnt).nonzero().flatten(), (fold == number).nonzero().flatten()
        inside = inside[some(len(inside), LEARNT_FROM, seed)]
        present, local = labels[inside].unique(return_inverse=True)
        if len(present) < 2:  # nothing to tell apart: it says how often each label is given
            probs[outside] = torch.bincount(labels, minlength=num_classes).double() / len(labels)
            continue
        weight, bias = linear_classifier(vectors[inside], local, strength)
        found = (vectors[outside] @ weight.T + bias).double().softmax(1)
        probs[outside[:, None], present] = found
    return probs


def linear_classifier(
    vectors: torch.Tensor, labels: torch.Tensor, strength: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (C, d) and biases (C,) float32 of multinomial logistic regression, as scikit-learn's, by L-BFGS.

    Every label in [0, C) occurs. The loss is computed in single precision: scikit-learn would make a copy of all
    vectors in double precision in every step, which takes fifteen times as long.
    """
    from scipy.optimize import minimize

    n, dim = vectors.shape
    num_classes = int(labels.max()) + 1

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.from_numpy(flat).float().view(num_classes, dim + 1)
        weight, bias = parameters[:, :dim], parameters[:, dim]
        logits = vectors @ weight.T + bias
        error = logits.softmax(1)
        error[torch.arange(n), labels] -= 1
        gradient = torch.cat([error.T @ vectors / n + weight / (strength * n), error.mean(0)[:, None]], 1)
        value = F.cross_entropy(logits, labels).double() + weight.double().square().sum() / (2 * strength * n)
        return float(value), gradient.double().numpy().ravel()

    start = np.zeros(num_classes * (dim + 1))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100, "gtol": 1e-3, "ftol": 1e-7})
    parameters = torch.from_numpy(found.x).float().view(num_classes, dim + 1)
    return parameters[:, :dim].contiguous(), parameters[:, dim].contiguous()


def neighbour_votes(
    neighbours: torch.Tensor, labels: torch.Tensor, num_classes: int, votes: torch.Tensor | None = None
) -> torch.Tensor:
    """Share of each label among the neighbours (N, k) that vote: (N, K) float64.

    One vote of the classes as they occur is added, so that nothing is impossible.
    """
    counts = torch.ones(neighbours.shape, dtype=torch.float64) if votes is None else votes[neighbours].double()
    total = torch.zeros(len(neighbours), num_classes, dtype=torch.float64).scatter_add_(1, labels[neighbours], counts)
    occurs = torch.bincount(labels, minlength=num_classes).double() / len(labels)
    return (total + occurs) / (total.sum(1, keepdim=True) + 1)


def nearest_others(vectors: torch.Tensor, voters: torch.Tensor, k: int) -> torch.Tensor:
    """Rows (N, k) of the k voters nearest to each sample (N, d) by Euclidean distance, itself never among them.

    voters (M,): rows that are asked; k is cut to M - 1. Distances are made block by block, never N x M at once.
    """
    keys = vectors[voters]
    half_squares = keys.square().sum(1) / 2
    place = torch.full((len(vectors),), -1)
    place[voters] = torch.arange(len(voters))
    k = min(k, len(voters) - 1)
    found = []
    for rows in torch.arange(len(vectors)).split(max(1, BLOCK // max(1, len(keys)))):
        closeness = vectors[rows] @ keys.T - half_squares  # falls as the distance grows
        own = (place[rows] >= 0).nonzero().flatten()
        closeness[own, place[rows[own]]] = -torch.inf
        found.append(voters[closeness.topk(k, dim=1).indices])
    return torch.cat(found)


def some(n: int, most: int, seed: int) -> torch.Tensor:
    """All rows of n, or `most` of them, drawn at random, in order."""
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(stream(seed, "some")))[:most].sort().values
