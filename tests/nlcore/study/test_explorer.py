import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

from nlcore import InputError, TrainConfig
from nlcore.study import explorer
from nlcore.study.explorer import Axis, Recording, Track, fitting, html, loss_and_margin, record
from nlcore.training.engine import run
from nlcore.training.observe import observe
from nlcore.training.run import prepare
from nlcore.training.state import start

SETS = {"tssd": ("positive", "mined", "negative", "uncertain"), "anchor": ("easy", "corrected", "hard")}
LABELLED = {"tssd": ("positive", "mined"), "anchor": ("easy", "corrected")}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def recording(rng):
    """23 grey images of 4 x 3 pixels, 5 epochs of which 2 are warm-up, both methods."""
    n, epochs, warmup, k = 23, 5, 2, 4

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=rng)

    given, tracks = draw(k, n), {}
    for name, sets in SETS.items():
        membership, clean_prob = draw(len(sets), epochs, n), torch.rand(epochs, n, generator=rng)
        membership[:warmup], clean_prob[:warmup] = -1, torch.nan
        target = given.expand(epochs, n).clone()
        if name == "anchor":
            target = torch.where(membership == 1, draw(k, epochs, n), target)
        position = torch.rand(epochs, n, 2, generator=rng) * torch.tensor([3.0, 1.0]) - torch.tensor([2.0, 0.5])
        tracks[name] = Track(sets, LABELLED[name], membership, clean_prob, target, position)
    axes = Axis("loss", -2.0, 1.0, {-2.0: "0.01", 1.0: "10"}), Axis("margin", -0.5, 0.5, {0.0: "0"})
    images = draw(256, n, 1, 4, 3).to(torch.uint8)
    return Recording(images, given, draw(k, n), ("ant", "bee", "cat", "dog"), 10 * torch.arange(n), axes, tracks)


def data_of(text: str) -> dict:
    (script,) = BeautifulSoup(text, "lxml").select("script[type='application/json']")
    return json.loads(script.string)


def unpacked(text: str) -> list[int]:
    return list(base64.b64decode(text))


def test_labels_sets_and_probabilities_survive_the_packing(recording):
    data = data_of(html(recording))
    n = len(data["samples"])
    assert data["samples"] == recording.index.tolist()
    assert unpacked(data["given"]) == recording.given_labels.tolist()
    assert unpacked(data["true"]) == recording.true_labels.tolist()
    for packed, (name, track) in zip(data["methods"], recording.tracks.items(), strict=True):
        assert tuple(packed["sets"]) == SETS[name]
        columns = {key: unpacked(packed[key]) for key in ("membership", "clean", "target", "across", "up")}
        for e in range(data["epochs"]):
            for i in range(n):
                at = {key: column[e * n + i] for key, column in columns.items()}
                assert at["membership"] == (255 if e < 2 else int(track.membership[e, i]))
                assert at["target"] == int(track.target[e, i])
                if e < 2:
                    assert at["clean"] == 255
                else:
                    assert at["clean"] / 254 == pytest.approx(float(track.clean_prob[e, i]), abs=0.002)
                assert 3 * at["across"] / 254 - 2 == pytest.approx(float(track.position[e, i, 0]), abs=0.006)
                assert at["up"] / 254 - 0.5 == pytest.approx(float(track.position[e, i, 1]), abs=0.002)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_survive_the_packing(recording, rng, channels):
    images = torch.randint(0, 256, (23, channels, 4, 3), generator=rng, dtype=torch.uint8)
    sprite = data_of(html(replace(recording, images=images)))["sprite"]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprite["src"].removeprefix("data:image/png;base64,")))))
    for i, image in enumerate(images):
        top, left = i // sprite["columns"] * 4, i % sprite["columns"] * 3
        found = sheet[top : top + 4, left : left + 3]
        pixels = image.permute(1, 2, 0).numpy()
        assert np.array_equal(found, 255 - pixels[..., 0] if channels == 1 else pixels)


def test_unknown_true_labels_and_images_of_no_class_are_told_apart(recording):
    assert data_of(html(replace(recording, true_labels=None)))["true"] is None
    true = recording.true_labels.clone()
    true[3] = -1
    assert [i for i, label in enumerate(unpacked(data_of(html(replace(recording, true_labels=true)))["true"]))
            if label == 255] == [3]  # fmt: skip


def test_nothing_is_asked_of_another_host(recording):
    text = html(recording)
    assert not re.search(r"https?:|//\w+\.|@import|url\(|\beval\b|new Function", text)
    page = BeautifulSoup(text, "lxml")
    assert not page.select("[src], [href], link, iframe")


def test_two_explorers_share_no_id(recording):
    pages = [BeautifulSoup(html(recording), "lxml") for _ in range(2)]
    ids = [tag["id"] for page in pages for tag in page.select("[id]")]
    assert len(ids) == len(set(ids)) == 2


def test_class_names_cannot_end_the_data(recording):
    names = ("</script><script>alert(1)</script>", "<!--", "a & b", "\u2028'\"\\$name")
    assert data_of(html(replace(recording, class_names=names)))["classes"] == list(names)
    assert len(BeautifulSoup(html(replace(recording, class_names=names)), "lxml").select("script")) == 2


def test_style_and_script_cannot_end_their_elements():
    parts = [part for part in files(explorer).iterdir() if part.name.endswith((".css", ".js"))]
    assert {part.name for part in parts} == {"explorer.css", "view.js", "input.js"}
    for part in parts:
        end = "</style" if part.name.endswith(".css") else "</script"
        assert end not in part.read_text("utf-8").lower()


def test_an_explorer_above_its_budget_is_refused_and_can_be_made_to_fit(recording):
    whole = len(html(recording).encode())
    page = len(html(recording.take(torch.arange(1))).encode())
    budget = (whole + page) // 2
    with pytest.raises(InputError, match=r"23 samples and 5 epochs.*take fewer samples"):
        html(recording, budget)
    fewer = fitting(recording, budget=budget)
    assert len(html(fewer, budget).encode()) <= budget
    assert 3 <= len(fewer.index) < 23
    assert fewer.index.tolist() == sorted(fewer.index.tolist())
    assert len(fitting(recording, samples=7).index) == 7
    assert torch.equal(fitting(recording).index, recording.index)


def test_taking_samples_takes_them_everywhere(recording):
    rows = torch.tensor([5, 2, 11])
    few = recording.take(rows)
    for k, i in enumerate(rows.tolist()):
        assert int(few.index[k]) == 10 * i
        assert int(few.given_labels[k]) == int(recording.given_labels[i])
        assert torch.equal(few.images[k], recording.images[i])
        for name, track in few.tracks.items():
            assert torch.equal(track.membership[:, k], recording.tracks[name].membership[:, i])
            assert torch.equal(track.position[:, k], recording.tracks[name].position[:, i])


def test_labelled_samples_are_those_of_the_labelled_sets_and_all_of_the_warm_up(recording):
    for name, track in recording.tracks.items():
        for e, row in enumerate(track.labelled.tolist()):
            sets = track.membership[e].tolist()
            assert row == [e < 2 or SETS[name][s] in LABELLED[name] for s in sets]
    members = recording.tracks["tssd"].members(4, "mined").tolist()
    assert members == [i for i in range(23) if int(recording.tracks["tssd"].membership[3, i]) == 1]


def test_methods_with_histories_of_unequal_length_are_refused(recording):
    track = recording.tracks["anchor"]
    parts = ("membership", "clean_prob", "target", "position")
    shorter = replace(track, **{part: getattr(track, part)[:3] for part in parts})
    with pytest.raises(InputError, match="not tssd 5, anchor 3"):
        replace(recording, tracks=recording.tracks | {"anchor": shorter})
    with pytest.raises(InputError, match="no method"):
        replace(recording, tracks={})


def test_too_many_classes_and_odd_channels_are_refused(recording):
    with pytest.raises(InputError, match="255 classes, not 256"):
        replace(recording, class_names=tuple(map(str, range(256))))
    with pytest.raises(InputError, match="channels, not 2"):
        replace(recording, images=recording.images.expand(-1, 2, -1, -1))


def test_a_record_holds_what_an_undisturbed_run_decides():
    config = TrainConfig(subset=300, epochs=4, warmup_epochs=2, noise="pairflip", device="cpu")
    data, noisy = prepare(config.resolved())
    recording = record(config, data, noisy)
    assert torch.equal(recording.given_labels, noisy.given_labels)
    assert recording.epochs == 4
    for method, track in recording.tracks.items():
        seen = observe(start(replace(config, method=method).resolved(), data, noisy))
        for e, epoch in enumerate(run(replace(config, method=method), data, noisy)):
            if e < 2:
                assert torch.equal(track.position[e], loss_and_margin(seen, noisy.given_labels))
                seen = observe(epoch.state)
                assert (track.membership[e] == -1).all()
                assert track.clean_prob[e].isnan().all()
                assert torch.equal(track.target[e], noisy.given_labels)
            else:
                assert torch.equal(track.membership[e], epoch.division.membership)
                assert torch.equal(track.clean_prob[e], epoch.division.clean_prob)
                assert torch.equal(track.target[e], epoch.division.target)
                assert torch.equal(track.labelled[e], epoch.division.labelled)
                assert torch.equal(track.position[e], loss_and_margin(epoch.snapshot, noisy.given_labels))
    ends = [(axis.low, axis.high) for axis in recording.axes]
    for track in recording.tracks.values():
        for (low, high), values in zip(ends, track.position.unbind(2), strict=True):
            assert low < values.min() and values.max() < high


def test_a_position_is_the_loss_and_the_margin(make_snapshot):
    made = make_snapshot(n=60, k=3)
    across, up = loss_and_margin(made.snapshot, made.given).T
    assert 10 ** across.double().numpy() == pytest.approx(made.snapshot.losses.clamp(min=1e-4).numpy(), rel=1e-4)
    right = made.given == made.true
    assert up[right].mean() > 0 > up[~right].mean()


def test_other_images_in_every_epoch_are_refused():
    config = TrainConfig(subset=300, epochs=2, balanced_images=100)
    with pytest.raises(InputError, match="same images in every epoch"):
        record(config, *prepare(config.resolved()))


DRIVER = """<script>addEventListener("load", () => {
  const said = [], root = document.querySelector(".nlx"), part = (name) => root.querySelector(`[data-is=${name}]`);
  const press = (key) => part("map").dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
  const choose = (name, value, event) => { part(name).value = value; part(name).dispatchEvent(new Event(event)); };
  const words = (name) => part(name).textContent.trim().replace(/\\s+/g, " ");
  const note = (name) => said.push(words(name));
  note("epochText");
  choose("sample", 30, "change"); press("End"); note("details"); note("paths");
  choose("method", 1, "change"); choose("show", "1", "change"); note("status"); note("legend");
  choose("show", "wrong", "change"); note("status");
  press("Home"); note("epochText"); press("PageUp"); note("epochText");
  choose("show", "all", "change"); choose("sample", LEFTMOST, "change"); press("End"); press("ArrowRight");
  said.push(part("sample").value);
  const pen = part("image").getContext("2d");
  choose("sample", 30, "change");
  setTimeout(() => {
    said.push([...pen.getImageData(1, 1, 1, 1).data].slice(0, 3).join());
    document.body.dataset.said = JSON.stringify(said);
  }, 500);
});</script>"""


def in_words(track: Track, i: int, class_names: tuple[str, ...], given: int) -> str:
    """Where a sample was in every epoch, as the explorer says it."""
    words = []
    for s, target in zip(track.membership[:, i].tolist(), track.target[:, i].tolist(), strict=True):
        corrected = "" if target == given else f" to {class_names[target]}"
        words.append("warm-up" if s < 0 else track.set_names[s] + corrected)
    parts, start = [], 0
    for e in range(len(words)):
        if e + 1 == len(words) or words[e + 1] != words[e]:
            parts.append(f"{start + 1} to {e + 1} {words[e]}" if e > start else f"{e + 1} {words[e]}")
            start = e + 1
    return ", ".join(parts)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_what_was_recorded(recording, tmp_path):
    names = ("<b>ant</b>", "bee", "cat", "dog")
    recording = replace(recording, class_names=names)
    i, tssd, anchor = 3, recording.tracks["tssd"], recording.tracks["anchor"]
    given, true = int(recording.given_labels[i]), int(recording.true_labels[i])
    across = anchor.position[4, :, 0]
    driver = DRIVER.replace("LEFTMOST", str(10 * int(across.argmin())))
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset='utf-8'><body>{html(recording)}{driver}", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}"]
    command = [BROWSER, *options, "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120)
    said = json.loads(BeautifulSoup(done.stdout.decode("utf-8"), "lxml").body["data-said"])

    first, details, paths, mined, legend, wrong, home, up, neighbour, pixel = said
    assert first == "Epoch 3 of 5"  # that of the first division
    assert f"Sample 30, epoch 5, pinnedGiven label{names[given]}True label{names[true]}" in details
    assert f"the given one is {'right' if given == true else 'wrong'}" in details
    probability = re.search(rf"TSSD{SETS['tssd'][tssd.membership[4, i]]}; clean probability (0\.\d\d)", details)
    assert float(probability[1]) == pytest.approx(float(tssd.clean_prob[4, i]), abs=0.008)
    for title, track in (("TSSD", tssd), ("Anchor Hallucination", anchor)):
        assert f"{title}, by epoch: {in_words(track, i, names, given)}." in paths
    corrected, is_wrong = anchor.membership[4] == 1, recording.given_labels != recording.true_labels
    assert mined == f"Epoch 5: {int(corrected.sum())} of 23 samples shown."
    assert f"corrected: {int(corrected.sum())}, given label wrong in {int((corrected & is_wrong).sum())}" in legend
    assert wrong == f"Epoch 5: {int(is_wrong.sum())} of 23 samples shown."
    assert (home, up) == ("Epoch 1 of 5, warm-up", "Epoch 2 of 5, warm-up")
    assert across[int(neighbour) // 10] > across.min()
    assert pixel == ",".join(3 * [str(255 - int(recording.images[i, 0, 0, 0]))])
