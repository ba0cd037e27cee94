import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.mixture import GaussianMixture

from nlcore.selection.mixture import Mixture, _best_split, ashman_distance, fit_mixture, low_component


def made_losses(seed, n=600):
    """Losses on [0, 1]: most small, a broad hump of large ones."""
    g = np.random.default_rng(seed)
    clean = g.random(n) < 0.6
    return torch.from_numpy(np.where(clean, g.beta(2, 20, n), g.beta(8, 5, n)))


def sklearn_fit(values: torch.Tensor, start: np.ndarray | None = None) -> tuple[GaussianMixture, np.ndarray, int]:
    """The convention of DivideMix, the posterior of its low component, and which component that is.

    `start` says which values are in the lower cluster at first; without, scikit-learn's own k-means does.
    """
    column = values.numpy()[:, None]
    given = {}
    if start is not None:
        parts = column[start], column[~start]
        given = {
            "means_init": [part.mean(0) for part in parts],
            "precisions_init": [[1 / (part.var(0) + 5e-4)] for part in parts],
            "weights_init": [start.mean(), 1 - start.mean()],
        }
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0, **given).fit(column)
    low = int(mixture.means_.argmin())
    return mixture, mixture.predict_proba(column)[:, low], low


def best_start(values: torch.Tensor) -> np.ndarray:
    """The best two-means clustering by trying every cut."""
    column = values.numpy()
    cuts = np.sort(column)[:-1]
    scatter = [((p := column[column <= c]).var() * len(p)) + ((q := column[column > c]).var() * len(q)) for c in cuts]
    return column <= cuts[int(np.argmin(scatter))]


@pytest.mark.parametrize("seed", range(5))
def test_means_variances_weights_and_posterior_are_those_of_scikit_learn_from_the_same_start(seed):
    values = made_losses(seed)
    mixture = fit_mixture(values)
    reference, posterior, low = sklearn_fit(values, best_start(values))
    order = [low, 1 - low]
    np.testing.assert_allclose(mixture.means[0], reference.means_[order, 0], atol=1e-8)
    np.testing.assert_allclose(mixture.variances[0], reference.covariances_[order, 0, 0], atol=1e-8)
    np.testing.assert_allclose(mixture.weights[0], reference.weights_[order], atol=1e-8)
    np.testing.assert_allclose(low_component(values), posterior, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learns_own_start_leads_to_nearly_the_same_posterior(seed):
    values = made_losses(seed)
    np.testing.assert_allclose(low_component(values), sklearn_fit(values)[1], atol=0.01)


def test_groups_fitted_together_equal_groups_fitted_one_by_one():
    parts = [made_losses(seed, n) * scale for seed, n, scale in ((0, 300, 1.0), (1, 200, 0.5), (2, 400, 0.8))]
    values = torch.cat(parts)
    groups = torch.cat([torch.full((len(p),), g) for g, p in enumerate(parts)])
    shuffle = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    together = low_component(values[shuffle], groups[shuffle], 3)
    for g, part in enumerate(parts):
        members = (groups == g)[shuffle]
        alone = fit_mixture(part).posterior(values[shuffle][members])
        np.testing.assert_allclose(together[members], alone, atol=1e-9)
        own = values[shuffle][members]
        np.testing.assert_allclose(alone, sklearn_fit(own, best_start(own))[1], atol=1e-8)


@given(values=st.lists(st.integers(0, 1000), min_size=2, max_size=30, unique=True))
def test_the_start_is_the_best_of_all_cuts_of_the_sorted_values(values):
    values = torch.tensor(values, dtype=torch.float64) / 1000
    low = _best_split(values, torch.zeros(len(values), dtype=torch.int64), 1)

    def scatter(part: torch.Tensor) -> float:
        return float((part - part.mean()).square().sum())

    ordered = values.sort().values
    best = min(scatter(ordered[:cut]) + scatter(ordered[cut:]) for cut in range(1, len(ordered)))
    assert low.any() and not low.all() and values[low].max() < values[~low].min()
    assert scatter(values[low]) + scatter(values[~low]) == pytest.approx(best, abs=1e-12)


def test_the_start_of_each_group_does_not_look_at_the_others():
    values = torch.tensor([0.0, 0.1, 5.0, 100.0, 101.0, 109.0])
    groups = torch.tensor([0, 0, 0, 1, 1, 1])
    assert _best_split(values.double(), groups, 2).tolist() == [True, True, False, True, True, False]


def test_a_group_below_fifty_values_uses_the_mixture_of_all_and_says_so(caplog):
    values = torch.cat([made_losses(0, 300), torch.linspace(0, 1, 50), torch.linspace(0, 1, 49)])
    groups = torch.tensor([0] * 300 + [1] * 50 + [2] * 49)
    with caplog.at_level(logging.INFO, "nlcore.selection.mixture"):
        posterior = low_component(values, groups, 3)
    assert torch.equal(posterior[350:], fit_mixture(values).posterior(values)[350:])
    torch.testing.assert_close(posterior[300:350], fit_mixture(values[300:350]).posterior(values[300:350]))
    assert "[2]" in caplog.text


def test_a_group_whose_means_coincide_uses_the_mixture_of_all_values(caplog):
    values = torch.cat([made_losses(0, 300), torch.full((80,), 0.05)])
    groups = torch.cat([torch.zeros(300), torch.ones(80)]).long()
    with caplog.at_level(logging.INFO, "nlcore.selection.mixture"):
        posterior = low_component(values, groups, 2)
    assert torch.equal(posterior[300:], fit_mixture(values).posterior(values)[300:])
    assert "[1]" in caplog.text


def test_ashmans_distance_by_hand():
    """Means 3 apart, variances 1 and 3: their root mean is sqrt 2."""
    mixture = Mixture(torch.tensor([[1.0, 4.0]]), torch.tensor([[1.0, 3.0]]), torch.tensor([[0.5, 0.5]]))
    assert float(ashman_distance(mixture)) == pytest.approx(3 / 2**0.5)


def test_an_empty_group_disturbs_nobody():
    values = made_losses(0, 300)
    groups = torch.zeros(300, dtype=torch.int64)
    groups[150:] = 2
    assert torch.equal(low_component(values, groups, 3), low_component(values, groups.clamp(max=1), 2))


def test_equal_values_count_as_clean_all_of_them_and_a_warning_is_logged(caplog):
    posterior = low_component(torch.full((200,), 0.3))
    assert torch.equal(posterior, torch.ones(200, dtype=torch.float64))
    assert "coincide" in caplog.text and caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("seed", range(3))
def test_one_sided_the_posterior_falls_from_the_smallest_value_to_the_largest(seed):
    """The plain one turns round below the lower mean; between the means both are the same."""
    generator = torch.Generator().manual_seed(seed)
    narrow = 0.06 + 0.02 * torch.randn(900, generator=generator, dtype=torch.float64)
    wide = 0.5 + 0.2 * torch.randn(400, generator=generator, dtype=torch.float64)
    values = torch.cat([narrow, wide]).clamp(0, 1).sort().values
    mixture = fit_mixture(values)
    plain, one_sided = low_component(values), low_component(values, one_sided=True)
    assert (plain.diff() > 1e-6).any() and (one_sided.diff() <= 0).all()
    between = (values > mixture.means[0, 0]) & (values < mixture.means[0, 1])
    torch.testing.assert_close(plain[between], one_sided[between])
    low, high = (stats.norm(m, v**0.5) for m, v in zip(mixture.means[0], mixture.variances[0], strict=True))
    for value, p in zip(values.tolist()[::50], one_sided.tolist()[::50], strict=True):
        a, b = (
            w * d
            for w, d in zip(
                mixture.weights[0].tolist(),
                (low.pdf(max(value, low.mean())), high.pdf(min(value, high.mean()))),
                strict=True,
            )
        )
        assert p == pytest.approx(a / (a + b), abs=1e-9)
