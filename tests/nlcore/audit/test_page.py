import base64
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from nlcore.audit.page import AS_IT_IS, SCRIPTS, SIDE, as_bytes, as_json, assembled, how_many_fit, picture_address

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node")
EDGES = (0.25, 0.5, 0.75, 0.9)


def decoded(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def in_node(script: str, given) -> object:
    """What an expression is, after a script of the page; `given` is its argument."""
    code = files("nlcore.audit").joinpath(script).read_text("utf-8")
    code += "\nconst given = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
    code += "\nconsole.log(JSON.stringify(given.map((each) => forecast(...each))));"
    done = subprocess.run([NODE, "-e", code], input=json.dumps(given), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_json_holds_no_markup_and_is_what_went_in():
    value = {"</script><!--": ["<img onerror=x>", "\u2028", 1.5, None]}
    assert "<" not in as_json(value) and json.loads(as_json(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_no_browser_reads_are_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        as_json([value])


def test_a_file_name_that_is_no_utf8_can_be_written():
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert json.loads(as_bytes(as_json(name))) == name


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3), (8, 5, 1), (AS_IT_IS, 1)])
def test_a_tiny_picture_is_kept_to_the_pixel(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    address, width, height = picture_address(picture)
    assert (height, width) == shape[:2] and address.startswith("data:image/png;base64,")
    assert np.array_equal(decoded(address), picture.squeeze(2) if shape[2:] == (1,) else picture)


def test_a_large_picture_is_reduced_in_proportion():
    assert AS_IT_IS >= 32 and SIDE >= 96  # the tiny pictures of the usual data sets; what a person can see
    address, width, height = picture_address(np.full((300, 600, 3), 90, np.uint8))
    assert (width, height) == (SIDE, SIDE // 2)
    assert decoded(address).shape == (height, width, 3) and abs(int(decoded(address)[9, 9, 0]) - 90) < 3


def test_a_large_photograph_takes_the_smaller_of_two_formats():
    smooth = np.add.outer(np.arange(200), np.arange(200)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    assert picture_address(noise)[0].startswith("data:image/jpeg")
    assert picture_address(np.zeros_like(smooth))[0].startswith("data:image/png")


def test_how_many_fit_is_the_longest_beginning_that_fits():
    sizes = [5, 3, 9, 1]
    for room in range(20):
        assert how_many_fit(sizes, room) == max(k for k in range(5) if sum(sizes[:k]) <= room)


def test_the_browser_is_told_to_run_this_script_alone_and_to_ask_nobody():
    page = BeautifulSoup(assembled("t", "", "{}"), "lxml")
    policy = page.select_one("meta[http-equiv]")["content"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    for tag in (page.style, page.select("script")[-1]):
        digest = base64.b64encode(hashlib.sha256(tag.string.encode()).digest()).decode()
        assert f"{tag.name}-src 'sha256-{digest}'" in policy
    assert page.html["lang"] == "en" and not page.select("link, iframe, [src], [href], [style], [onclick]")


def test_titles_are_text_and_dollar_signs_stay():
    page = BeautifulSoup(assembled("<b>$title</b>", "", "{}"), "lxml")
    assert page.title.text == page.h1.text == "<b>$title</b>"


def test_every_script_is_in_the_page_and_cannot_end_its_element():
    parts = {part.name: part.read_text("utf-8") for part in files("nlcore.audit").iterdir() if part.is_file()}
    assert {name for name in parts if name.endswith(".js")} == set(SCRIPTS)
    for name, text in parts.items():
        if name.endswith((".js", ".css")):
            assert not re.search(r"</script|</style|<!--|https?:|@import|url\(|\beval\b|innerHTML", text), name


# --- what the decisions say of the rest, against a slow version of it -------------------------------------------------


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slow_forecast(promised, found, order, following) -> dict:
    """The same as estimate.js: the shift is searched on a grid, the rest are loops."""
    odds = [math.log(min(max(p, 0.01), 0.99) / (1 - min(max(p, 0.01), 0.99))) for p in promised]
    judged = [i for i, f in enumerate(found) if f in (0, 1)]

    def posterior(shift: float) -> float:
        value = -((shift / 0.7) ** 2) / 2
        for i in judged:
            p = logistic(odds[i] + shift)
            value += math.log(p if found[i] else 1 - p)
        return value

    shift = max(np.linspace(-6, 6, 601), key=posterior)
    shift = max(np.linspace(shift - 0.02, shift + 0.02, 401), key=posterior)

    def corrected(i: int, extra: float = 0.0) -> float:
        band = sum(promised[i] >= edge for edge in EDGES)
        peers = [j for j in judged if sum(promised[j] >= edge for edge in EDGES) == band]
        surplus = sum(found[j] - logistic(odds[j] + shift) for j in peers)
        return min(1.0, max(0.0, logistic(odds[i] + shift + extra) + surplus / (len(peers) + 10)))

    left = [i for i, f in enumerate(found) if f is None]
    mean = sum(corrected(i) for i in left)
    spread = sum(corrected(i) * (1 - corrected(i)) for i in left)
    doubt = 1 / math.sqrt(1 / 0.7**2 + sum(logistic(odds[i] + shift) * (1 - logistic(odds[i] + shift)) for i in judged))
    low, high = (
        mean + math.copysign(math.hypot(sum(corrected(i, by * doubt) for i in left) - mean, by * spread**0.5), by)
        for by in (-1.96, 1.96)
    )
    coming = [i for i in order if found[i] is None][:following]
    return {
        "looked": len(judged),
        "unsure": sum(f == -1 for f in found),
        "promised": sum(promised[i] for i in judged),
        "wrong": sum(found[i] for i in judged),
        "left": len(left),
        "leftWrong": mean,
        "low": max(0.0, low),
        "high": min(len(left), high),
        "worth": sum(corrected(i) >= 0.1 for i in left),
        "next": len(coming),
        "nextWrong": sum(corrected(i) for i in coming),
    }


def drawn(seed: int, n: int = 150):
    """Promises, and findings for about half of them, some of them unsure, that the promises overstate."""
    rng = np.random.default_rng(seed)
    promised = np.sort(rng.beta(0.6, 0.8, n).round(4))[::-1].tolist()
    truth = [int(rng.random() < p**2) for p in promised]
    found = [-1 if u < 0.05 else w if u < 0.5 else None for u, w in zip(rng.random(n), truth, strict=True)]
    return [promised, found, rng.permutation(n).tolist(), 20]


@needs_node
def test_the_forecast_is_that_of_a_slow_version():
    cases = [drawn(seed) for seed in range(6)]
    promised, _, order, _ = drawn(7)
    cases += [
        [promised, [None] * 150, order, 20],
        [promised, [1] * 150, order, 20],
        [[0.0, 1.0, 0.25, 0.9], [1, 0, None, None], [3], 20],
    ]
    for case, got in zip(cases, in_node("estimate.js", cases), strict=True):
        expected = slow_forecast(*case)
        assert {name: got[name] for name in expected} == pytest.approx(expected, abs=5e-3)


@needs_node
def test_without_findings_the_promises_stand():
    promised, _, order, _ = drawn(1)
    (got,) = in_node("estimate.js", [[promised, [None] * 150, order, 20]])
    assert got["leftWrong"] == pytest.approx(sum(promised), abs=0.5) and got["low"] < sum(promised) < got["high"]


@needs_node
def test_many_findings_outweigh_wrong_promises():
    rng = np.random.default_rng(0)
    promised = np.sort(rng.uniform(0.05, 0.95, 3000))[::-1]
    truth = rng.random(3000) < promised / 3
    found = [int(w) if i % 3 else None for i, w in enumerate(truth)]
    (got,) = in_node("estimate.js", [[promised.tolist(), found, list(range(3000)), 20]])
    rest = truth[::3].sum()
    assert promised[::3].sum() > 450 and abs(got["leftWrong"] - rest) < 30
    assert got["low"] < rest < got["high"] and got["high"] - got["low"] < 80


@needs_node
def test_the_bands_add_up_to_the_whole():
    (got,) = in_node("estimate.js", [drawn(3)])
    for part, whole in (("looked", "looked"), ("wrong", "wrong"), ("left", "left"), ("leftWrong", "leftWrong")):
        assert sum(band[part] for band in got["bands"]) == pytest.approx(got[whole])
