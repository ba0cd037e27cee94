"""Grid files: which cells they name, and what is wrong with those that name none."""

from pathlib import Path

import pytest

from nlcore import InputError, TrainConfig
from nlcore.results.cells import cell_name
from nlcore.results.grids import read_grid
from nlcore.training.config import with_overrides

GRIDS = sorted((Path(__file__).parents[3] / "benchmark").glob("*.yml"))


@pytest.fixture
def grid(tmp_path):
    """`grid(text)`: the cells of a grid file with this text."""

    def read(text: str) -> dict[str, TrainConfig]:
        (tmp_path / "grid.yml").write_text(text)
        return read_grid(tmp_path / "grid.yml")

    return read


def test_a_block_is_the_product_of_its_lists_the_first_varying_slowest(grid):
    cells = grid("cells: [{noise: [symmetric:0.2, idn_xia:0.4], method: [ce, tssd], seed: 3}]")
    assert [(c.noise, c.rate, c.method, c.seed) for c in cells.values()] == [
        ("symmetric", 0.2, "ce", 3),
        ("symmetric", 0.2, "tssd", 3),
        ("idn_xia", 0.4, "ce", 3),
        ("idn_xia", 0.4, "tssd", 3),
    ]
    assert list(cells) == [cell_name(config) for config in cells.values()]


def test_settings_hold_for_all_blocks_and_a_block_may_change_them(grid):
    cells = grid("settings: {epochs: 4, lam_u: 3}\ncells: [{method: tssd}, {method: tssd, epochs: 7, tau: 0.6}]")
    first, second = cells.values()
    assert (first.epochs, first.ssl.lam_u, first.settings.tau) == (4, 3, 0.5)
    assert (second.epochs, second.ssl.lam_u, second.settings.tau) == (7, 3, 0.6)
    assert first == with_overrides(TrainConfig(), {"method": "tssd", "epochs": 4, "lam_u": 3}).resolved()


def test_a_cell_named_twice_is_one_cell(grid):
    assert len(grid("cells: [{method: ce, seed: [0, 1]}, {method: ce, seed: [1, 2]}]")) == 3


def test_noise_without_a_rate_has_none(grid):
    (cell,) = grid("settings: {dataset: cifar10}\ncells: [{noise: human:worst, method: ce}]").values()
    assert (cell.noise, cell.rate) == ("human:worst", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cells: [{methd: ce}]", "grid.yml, block 1 of cells: unknown parameter 'methd'"),
        ("cells: [{method: ce}, {method: nonsense}]", "block 2 of cells: unknown method 'nonsense'"),
        ("cells: [{noise: symmetric}]", "is not of the form KIND:RATE"),
        ("cells: [{method: tssd, epochs: many}]", "epochs must be of type"),
        ("cells: [{method: tssd, tau: [0.5, x]}]", "tau must be of type"),
        ("cells: [{noise: symmetric:0.2, rate: 0.4}]", "block 1 of cells: noise symmetric:0.2 says its rate itself"),
        ("settings: {rate: 0.4}\ncells: [{noise: human:worst}]", "noise human:worst says its rate itself"),
        ("cells: [{method: ce}, {method: ce, seed: []}]", "block 2 of cells: seed is an empty list"),
        ("cells: [{method: ce, noise: symmetric:1.5}]", "block 1 of cells: rate must lie in [0, 1), not 1.5"),
        ("cells: [{method: ce, noise_options: {include: 1}}]", "block 1 of cells: unknown option 'include'"),
        ("cells: [{method: ce, seed: 1, seed: 2}]", "grid.yml: line 1 says 'seed' twice"),
        ("settings: {}\ncells: []\nsettings: {}", "grid.yml: line 1 says 'settings' twice"),
        ("setings: {}\ncells: [{}]", "unknown key 'setings'"),
        ("cells: []", "the grid has no cell"),
        ("cells: {method: ce}", "has no list `cells`"),
        ("cells: [ce]", "must be mappings"),
        ("settings: 3\ncells: [{}]", "must be mappings"),
        ("just words", "has no list `cells`"),
        ("cells: [", "is not YAML"),
        ("\tcells: 3", "is not YAML"),
    ],
)
def test_a_bad_grid_is_one_line_that_says_where(grid, text, message):
    with pytest.raises(InputError) as error:
        grid(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_grid_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.yml"):
        read_grid(tmp_path / "none.yml")


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.name)
def test_every_grid_of_the_project_can_be_read(path):
    assert len(read_grid(path)) >= 4
