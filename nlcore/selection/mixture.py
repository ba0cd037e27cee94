"""A two-component Gaussian mixture in one dimension, fitted to many groups at once.

Expectation-maximisation as in scikit-learn's `GaussianMixture`, whose settings DivideMix made the convention (10
iterations, tolerance 1e-2, 5e-4 added to each variance), with two differences: all groups are fitted together by
segment sums, and the k-means start is the exact optimum of two means on a line. With that tolerance EM stops after
a few iterations, so the start is part of the method.
"""

import logging
from dataclasses import dataclass

import torch

log = logging.getLogger(__name__)

MAX_ITER, TOLERANCE, REGULARISER = 10, 1e-2, 5e-4
MIN_GROUP = 50  # a smaller group cannot carry two components (our reconstruction)
MIN_SEPARATION = 1e-3  # means closer than this, on values scaled to [0, 1], are one component (our reconstruction)


@dataclass(frozen=True)
class Mixture:
    """Two components for each of G groups, sorted by mean: `means`, `variances`, `weights` are (G, 2) float64."""

    means: torch.Tensor
    variances: torch.Tensor
    weights: torch.Tensor

    def log_joint(self, values: torch.Tensor, groups: torch.Tensor, one_sided: bool = False) -> torch.Tensor:
        """log(weight density) of each value under both components of its group: (N, 2).

        `one_sided`: a value beyond a mean, away from the other component, is as likely as the mean itself.
        """
        means, variances, weights = self.means[groups], self.variances[groups], self.weights[groups]
        distance = values[:, None] - means
        if one_sided:
            distance = torch.stack([distance[:, 0].clamp(min=0), distance[:, 1].clamp(max=0)], 1)
        density = -0.5 * (distance.square() / variances + (2 * torch.pi * variances).log())
        return density + weights.log()

    def posterior(
        self, values: torch.Tensor, groups: torch.Tensor | None = None, one_sided: bool = False
    ) -> torch.Tensor:
        """Probability that each value belongs to the low-mean component of its group: (N,) float64.

        The posterior of two Gaussians turns round below the lower mean: the wide component takes the smallest values of
        all for its own. `one_sided` (our reconstruction) it falls from the smallest value to the largest; between the
        means both are the same.
        """
        groups = torch.zeros(len(values), dtype=torch.int64, device=values.device) if groups is None else groups
        return self.log_joint(values.double(), groups, one_sided).softmax(1)[:, 0]


def fit_mixture(
    values: torch.Tensor,
    groups: torch.Tensor | None = None,
    num_groups: int = 1,
    max_iter: int = MAX_ITER,
    tolerance: float = TOLERANCE,
) -> Mixture:
    """Fit two Gaussians to the values (N,) of each group (N,) int64 in [0, num_groups).

    The parameters of an empty group mean nothing; `separated` tells which fits can be used.
    """
    values = values.double()
    groups = torch.zeros(len(values), dtype=torch.int64, device=values.device) if groups is None else groups
    low = _best_split(values, groups, num_groups)
    responsibility = torch.stack([low, ~low], 1).double()
    mixture = _maximise(values, groups, num_groups, responsibility)
    previous = torch.full((num_groups,), -torch.inf, dtype=torch.float64, device=values.device)
    counts = _segment_sum(torch.ones_like(values), groups, num_groups)
    active = torch.ones(num_groups, 1, dtype=torch.bool, device=values.device)
    for _ in range(max_iter):
        joint = mixture.log_joint(values, groups)
        evidence = joint.logsumexp(1)
        update = _maximise(values, groups, num_groups, (joint - evidence[:, None]).exp())
        # A group that has converged keeps its parameters while the others go on.
        mixture = Mixture(
            *(torch.where(active, getattr(update, f), getattr(mixture, f)) for f in ("means", "variances", "weights"))
        )
        bound = _segment_sum(evidence, groups, num_groups) / counts
        active = active & ((bound - previous).abs() >= tolerance)[:, None]
        if not bool(active.any()):
            break
        previous = bound
    order = mixture.means.argsort(1)
    return Mixture(*(getattr(mixture, field).gather(1, order) for field in ("means", "variances", "weights")))


def separated(mixture: Mixture, counts: torch.Tensor) -> torch.Tensor:
    """Which of the G groups have enough samples and two means apart: (G,) bool."""
    apart = (mixture.means[:, 1] - mixture.means[:, 0]) > MIN_SEPARATION
    return apart & (counts >= MIN_GROUP)


def ashman_distance(mixture: Mixture) -> torch.Tensor:
    """Distance of the two means in units of the root mean variance, (G,) float64 (Ashman, Bird and Zepf, 1994).

    Two components overlap so much below 2 that a histogram of both shows one peak: a mixture splits such a group all
    the same.
    """
    return (mixture.means[:, 1] - mixture.means[:, 0]) / mixture.variances.mean(1).sqrt()


def low_component(
    values: torch.Tensor,
    groups: torch.Tensor | None = None,
    num_groups: int = 1,
    max_iter: int = MAX_ITER,
    tolerance: float = TOLERANCE,
    one_sided: bool = False,
) -> torch.Tensor:
    """Posterior (N,) of the low-mean component, `one_sided` or not, with the documented fall-backs.

    With `groups`, one mixture each; a group below `MIN_GROUP` samples, or whose two means coincide, uses the mixture of
    all values. If that one's means coincide too there is nothing to tell apart: every posterior is 1 (our
    reconstruction: a method that sees no difference trusts every label). Both are logged.
    """
    whole = fit_mixture(values, max_iter=max_iter, tolerance=tolerance)
    if not bool(separated(whole, torch.tensor([max(len(values), MIN_GROUP)], device=values.device))):
        log.warning(
            "mixture: the two components coincide over all %d values; every sample counts as clean", len(values)
        )
        return torch.ones_like(values, dtype=torch.float64)
    posterior = whole.posterior(values, one_sided=one_sided)
    if groups is not None:
        mixture = fit_mixture(values, groups, num_groups, max_iter, tolerance)
        usable = separated(mixture, torch.bincount(groups, minlength=num_groups))
        if not bool(usable.all()):
            log.info("mixture: group %s use the mixture of all values", (~usable).nonzero().flatten().tolist())
        posterior = torch.where(usable[groups], mixture.posterior(values, groups, one_sided), posterior)
    return posterior


def _segment_sum(values: torch.Tensor, groups: torch.Tensor, num_groups: int) -> torch.Tensor:
    """Sum of values (N, ...) per group: (G, ...)."""
    return torch.zeros(num_groups, *values.shape[1:], dtype=values.dtype, device=values.device).index_add(
        0, groups, values
    )


def _maximise(values, groups, num_groups, responsibility) -> Mixture:
    """The M step: weighted mean, variance and share of both components in each group."""
    eps = 10 * torch.finfo(torch.float64).eps
    mass = _segment_sum(responsibility, groups, num_groups) + eps
    means = _segment_sum(responsibility * values[:, None], groups, num_groups) / mass
    deviation = (values[:, None] - means[groups]).square()
    variances = _segment_sum(responsibility * deviation, groups, num_groups) / mass + REGULARISER
    return Mixture(means, variances, mass / mass.sum(1, keepdim=True))


def _best_split(values: torch.Tensor, groups: torch.Tensor, num_groups: int) -> torch.Tensor:
    """The optimal two-means clustering of each group: True for the values in its lower cluster, (N,) bool.

    On a line the optimum is a threshold, so it is enough to score every cut of the sorted values. The cut after rank r
    explains S_r^2 / r + (S - S_r)^2 / (n - r), S_r being the sum of the r smallest: the larger, the less scatter is
    left.
    """
    order = values.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]
    sorted_groups = groups[order]
    counts = torch.bincount(groups, minlength=num_groups)
    start = counts.cumsum(0) - counts
    rank = torch.arange(1, len(values) + 1, device=values.device) - start[sorted_groups]
    n = counts[sorted_groups]
    # Centring each group first keeps the running sums small and the squares exact.
    mean = _segment_sum(values, groups, num_groups) / counts.clamp(min=1)
    running = (values - mean[groups])[order].cumsum(0)
    before = torch.cat([running.new_zeros(1), running])[start]
    left = running - before[sorted_groups]
    explained = left.square() / rank + left.square() / (n - rank).clamp(min=1)
    explained = explained.masked_fill(rank == n, -torch.inf)
    best = torch.full((num_groups,), -torch.inf, dtype=torch.float64, device=values.device)
    best = best.scatter_reduce(0, sorted_groups, explained, "amax")
    # The first cut that reaches the optimum.
    at_best = torch.where(explained == best[sorted_groups], rank, n)
    cut = counts.scatter_reduce(0, sorted_groups, at_best, "amin")
    low = torch.empty(len(values), dtype=torch.bool, device=values.device)
    low[order] = rank <= cut[sorted_groups]
    return low
