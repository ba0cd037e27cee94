"""The command line: whole runs as a subprocess; refusals mostly in this process, which has imported torch already."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from nlcore import cli
from nlcore.basics.files import locked

TRAIN = ["train", "--dataset", "digits", "--epochs", "3", "--warmup-epochs", "1", "--subset", "300"]


def nlcore(*arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "nlcore", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


@pytest.fixture
def refusal(capsys, monkeypatch):
    """`refusal(arguments)`: run `main` on arguments that it must refuse; its one line on standard error."""

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["nlcore", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code not in (0, None)
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One finished run: the process and its folder."""
    out = tmp_path_factory.mktemp("runs") / "a" / "run"
    options = ["--noise", "symmetric", "--rate", "0.4", "--method", "tssd", "--seed", "7", "--set", "tau=0.6"]
    return nlcore(*TRAIN, *options, "--out", out), out


def test_the_last_line_of_a_run_is_its_accuracy_and_no_bar_is_drawn_into_a_pipe(trained):
    process, _ = trained
    assert process.returncode == 0 and process.stderr == ""
    last = process.stdout.splitlines()[-1]
    assert re.fullmatch(r"best \d+\.\d  last \d+\.\d  last10 \d+\.\d", last)


def test_result_json_holds_what_the_run_was_and_gave(trained):
    process, out = trained
    values = json.loads((out / "result.json").read_text())
    assert process.stdout.splitlines()[-1] == (
        f"best {values['best']:.1f}  last {values['last']:.1f}  last10 {values['last10']:.1f}"
    )
    assert values["config"]["seed"] == 7 and values["config"]["settings"]["tau"] == 0.6
    assert values["noise"]["realised_rate"] == pytest.approx(0.36, abs=0.05) and "seed=7" in values["noise"]["identity"]
    assert [row["epoch"] for row in values["history"]] == [1, 2, 3]
    assert set(values["division"]["sets"]) == {"positive", "mined", "negative", "uncertain"}
    assert len(values["division"]["labelled"]["histogram"]) == 10
    assert values["wall_seconds"] > 0 and {"torch", "python", "numpy", "device"} <= set(values["environment"])


def test_samples_csv_holds_one_line_a_training_sample(trained):
    with open(trained[1] / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    assert list(rows[0]) == ["index", "given_label", "true_label", "set", "clean_prob", "corrected_label"]
    wrong = sum(row["given_label"] != row["true_label"] for row in rows) / 300
    assert wrong == pytest.approx(json.loads((trained[1] / "result.json").read_text())["noise"]["realised_rate"])
    assert all(0 <= float(row["clean_prob"]) <= 1 for row in rows)


def test_nothing_but_the_result_and_the_last_checkpoint_is_left_behind(trained):
    names = ["checkpoint.pt", "result.json", "samples.csv"]
    assert sorted(path.name for path in trained[1].iterdir()) == names


def test_a_finished_run_is_not_run_again(trained, capsys, monkeypatch):
    process, out = trained
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    arguments = [*TRAIN, "--rate", "0.4", "--method", "tssd", "--seed", "7", "--set", "tau=0.6", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["nlcore", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    first, last = capsys.readouterr().out.splitlines()
    assert "finished" in first and last == process.stdout.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_samples_that_were_deleted_are_written_again_from_the_checkpoint(trained, tmp_path, monkeypatch, capsys):
    process, out = trained
    shutil.copytree(out, tmp_path / "run")
    (tmp_path / "run" / "samples.csv").unlink()
    monkeypatch.setattr("nlcore.training.engine.warmup_epoch", None)  # nothing is trained
    arguments = [*TRAIN, "--rate", "0.4", "--method", "tssd", "--seed", "7", "--set", "tau=0.6"]
    monkeypatch.setattr(sys, "argv", ["nlcore", *arguments, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().out.splitlines()
    assert end.value.code in (0, None) and "lost its samples.csv" in said[0]
    assert said[-1] == process.stdout.splitlines()[-1]
    assert (tmp_path / "run" / "samples.csv").read_bytes() == (out / "samples.csv").read_bytes()


def test_a_damaged_result_is_called_damaged(tmp_path, refusal):
    (tmp_path / "result.json").write_text("{")
    assert "result.json is damaged; delete it, and the same command writes it again" in refusal(
        *TRAIN, "--out", tmp_path
    )


def test_a_second_run_in_one_folder_is_refused_at_once_and_changes_nothing(tmp_path, refusal):
    with locked(tmp_path):
        before = list(tmp_path.iterdir())
        assert "another run is writing into" in refusal(*TRAIN, "--seed", "8", "--out", tmp_path)
        assert list(tmp_path.iterdir()) == before


def test_a_run_that_its_time_budget_stops_ends_with_status_75_and_goes_on(tmp_path):
    command = [*TRAIN, "--method", "ce", "--out", tmp_path / "run"]
    first = nlcore(*command, "--time-budget", "0")
    assert first.returncode == 75 and "stopped after epoch 1 of 3; the same command goes on" in first.stderr
    assert not (tmp_path / "run" / "result.json").exists()
    assert nlcore(*command).returncode == 0
    assert (tmp_path / "run" / "result.json").exists()


def test_a_folder_with_another_run_is_refused_and_stays_as_it_was(trained, refusal):
    _, out = trained
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "another run" in refusal(*TRAIN, "--seed", "8", "--out", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_noise_writes_the_labels_that_corrupt_gives(tmp_path):
    from nlcore import corrupt, load_dataset

    out = tmp_path / "labels" / "noisy.csv"
    arguments = ["--noise", "symmetric", "--rate", "0.3", "--seed", "2", "--noise-option", "include_true=false"]
    process = nlcore("noise", *arguments, "--out", out)
    assert process.returncode == 0 and "realised rate 29.99%" in process.stdout
    noisy = corrupt(load_dataset("digits"), "symmetric", 0.3, 2, include_true=False)
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "given_label", "true_label"]
    assert [int(row["index"]) for row in rows] == list(range(1347))
    assert [int(row["given_label"]) for row in rows] == noisy.given_labels.tolist()
    assert [int(row["true_label"]) for row in rows] == noisy.true_labels.tolist()


def test_a_method_gets_the_networks_that_it_needs(tmp_path, monkeypatch, capsys):
    for method, expected in (("coteaching", 2), ("ce", 1)):
        arguments = ["--method", method, "--subset", "100", "--epochs", "1", "--out", str(tmp_path / method)]
        monkeypatch.setattr(sys, "argv", ["nlcore", "train", *arguments])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
        assert json.loads((tmp_path / method / "result.json").read_text())["network"]["count"] == expected


def test_labels_that_were_written_can_be_trained_on(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nlcore", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code in (0, None)
        return capsys.readouterr().out

    subset = ["--subset", "300"]
    for suffix in ("csv", "npz"):
        labels = tmp_path / f"labels.{suffix}"
        written = run("noise", *subset, "--noise", "idn_xia", "--rate", "0.3", "--out", labels)
        out = tmp_path / suffix
        run("train", *subset, "--noise", f"file:{labels}", "--method", "ce", "--epochs", "1", "--out", out)
        result = json.loads((out / "result.json").read_text())
        assert result["config"]["rate"] is None
        assert f"{result['noise']['realised_rate']:.2%}" in written
        with open(out / "samples.csv", newline="") as file:
            index = [int(row["index"]) for row in csv.DictReader(file)]
        assert len(index) == 300 and max(index) > 300  # rows of the whole training set


@pytest.mark.parametrize("name", ["labels.npy", "labels.pt", "labels.txt", "labels"])
def test_labels_are_written_in_no_format_that_would_be_refused(tmp_path, refusal, monkeypatch, name):
    monkeypatch.setattr(cli, "load_dataset", lambda *_: pytest.fail("worked before it refused"))
    assert "must end in .npz or .csv" in refusal("noise", "--out", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_written_in_no_format_but_its_own(tmp_path, refusal):
    assert "must end in .csv or .md" in refusal("table", tmp_path, "--out", tmp_path / "table.tex")


def test_a_suffix_may_be_in_capitals(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nlcore", "noise", "--subset", "50", "--out", str(tmp_path / "a.NPZ")])
    with pytest.raises(SystemExit):
        cli.main()
    assert zipfile.is_zipfile(tmp_path / "a.NPZ")


def test_the_home_folder_is_not_made_again_as_a_folder_called_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["nlcore", "noise", "--subset", "50", "--out", "~/labels.csv"])
    with pytest.raises(SystemExit):
        cli.main()
    assert (tmp_path / "home" / "labels.csv").exists() and not (tmp_path / "~").exists()


@pytest.fixture(scope="module")
def two_seeds(trained, tmp_path_factory):
    """A folder of results of two seeds, which have a deviation."""
    folder = tmp_path_factory.mktemp("two")
    text = (trained[1] / "result.json").read_text()
    (folder / "7.json").write_text(text)
    (folder / "8.json").write_text(text.replace('"seed": 7', '"seed": 8'))
    return folder


def test_a_terminal_without_the_sign_gets_a_plain_one(two_seeds):
    process = nlcore("table", two_seeds, PYTHONIOENCODING="ascii")
    assert process.returncode == 0 and " +- " in process.stdout and process.stderr == ""


@pytest.mark.parametrize("reader", ["| true", ">&-"])
def test_who_does_not_read_gets_no_traceback(two_seeds, reader):
    command = f"{sys.executable} -m nlcore table {two_seeds} {reader}"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert process.stderr == ""


def test_noise_never_overwrites_a_file(tmp_path, refusal):
    out = tmp_path / "noisy.csv"
    out.write_text("mine")
    assert "exists already" in refusal("noise", "--out", out) and out.read_text() == "mine"


def test_without_network_a_missing_cache_is_one_line_and_nothing_is_written(tmp_path):
    dead = "http://127.0.0.1:9"
    process = nlcore(
        "train", "--dataset", "cifar10", "--out", tmp_path / "run",
        NLCORE_DATA=str(tmp_path / "cache"), http_proxy=dead, https_proxy=dead, no_proxy="",
    )  # fmt: skip
    assert process.returncode == 2
    assert len(process.stderr.strip().splitlines()) == 1 and "could not be downloaded" in process.stderr
    assert "Traceback" not in process.stdout + process.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [] and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "mnist"], ["mnist", "digits", "glyphs", "cifar10", "cifar100"]),
        (["--method", "magic"], ["magic", "ce", "dividemix", "tssd", "anchor"]),
        (["--noise", "gaussian"], ["gaussian", "symmetric", "asymmetric", "pairflip", "idn_xia"]),
        (["--preset", "best"], ["best", "tuned", "paper"]),
        (["--set", "taw=0.5"], ["taw", "tau", "keep_share", "lam_u", "learning_rate"]),
        (["--set", "meta=nonsense"], ["nonsense", "synthetic", "certain", "golden", "off"]),
        (["--set", "tau=high"], ["tau", "float", "high"]),
        (["--set", "tau"], ["tau", "KEY=VALUE"]),
        (["--set", "tau=["], ["tau", "float", "["]),
        (["--noise-option", "scale=raw"], ["scale", "include_true"]),
        (["--rate", "1.0"], ["rate", "[0, 1)"]),
        (["--noise", "human:worst", "--rate", "0.2"], ["--rate 0.2", "human"]),
        (["--dataset", "path:my.csv", "--rate", "0.2"], ["--rate 0.2", "given"]),
        (["--subset", "5"], ["5", "10", "1347"]),
        (["--seed", "-1"], ["seed"]),
        (["--set", "keep_share=2"], ["keep_share", "[0, 1]", "2"]),
        (["--time-budget", "-5"], ["time_budget", "at least 0"]),
        (["--seed", str(2**32)], ["seed", "[0, 4294967295]"]),
        (["--set", "tau=0.6", "--set", "tau=0.7"], ["tau is said twice"]),
        (["--noise", "symmetric:0.4"], ["symmetric:0.4", "--rate 0.4"]),
        (["--set", "learning_rate=1e30", "--method", "ce"], ["epoch 1"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input_to_train_is_one_line_with_what_would_be_right_and_nothing_is_written(
    tmp_path, refusal, arguments, words
):
    line = refusal(*TRAIN, *arguments, "--out", tmp_path / "run")
    assert [word for word in words if word not in line] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "mnist"], ["digits, glyphs, cifar10, cifar100"]),
        (["--noise", "gaussian"], ["symmetric, asymmetric, pairflip, idn_xia"]),
        (["--noise", "idn_xia", "--noise-option", "scaling=loud"], ["raw, unit, normalised"]),
        (["--rate", "-0.1"], ["[0, 1)"]),
        (["--seed", "-1"], ["seed", "[0, 4294967295]"]),
        (["--seed", str(2**64)], ["seed", "[0, 4294967295]"]),
        (["--noise", "pairflip:0.4"], ["pairflip:0.4", "--rate 0.4"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input_to_noise_is_one_line_too(tmp_path, refusal, arguments, words):
    line = refusal("noise", *arguments, "--out", tmp_path / "labels" / "noisy.csv")
    assert [word for word in words if word not in line] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("dataset", "cifar10", "--dataset"),
        ("noise_options", "{}", "--noise-option"),
        ("warmup_epochs", "1", "--warmup-epochs"),
        ("rate", "0.4", "--rate"),
    ],
)
def test_set_refuses_what_has_an_option_of_its_own_and_names_it(tmp_path, refusal, name, value, option):
    line = refusal("train", "--set", f"{name}={value}", "--out", tmp_path / "run")
    assert line.endswith(f"--set {name}: it has an option of its own; say {option}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--colour", "red"], "No such option: --colour"),
        (["train"], "Missing option '--out'; --help says more"),
        (["learn"], "No such command 'learn'"),
        (["train", "--epochs", "many", "--out", "x"], "Invalid value for '--epochs'"),
        (["noise", "labels.csv", "--out", "x"], "unexpected extra argument"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_line(refusal, arguments, words):
    assert words in refusal(*arguments)


def test_help_names_both_commands():
    process = nlcore("--help")
    assert process.returncode == 0 and "train" in process.stdout and "noise" in process.stdout


@pytest.mark.parametrize(
    ("command", "words"), [("train", ["--method", "tssd", "--out", "tau=0.7"]), ("noise", ["--rate"])]
)
def test_help_of_a_command_names_its_options(monkeypatch, capsys, command, words):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "argv", ["nlcore", command, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    text = capsys.readouterr().out
    assert end.value.code == 0 and [word for word in words if word not in text] == []


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of forty rows with a text and two numbers, whose labels are in the column `kind`."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{k * 2 + n % 7},{n % 5},{('good', 'bad')[k]} thing,{('yes', 'no')[k]}" for n in range(20) for k in (0, 1)]
    (tmp_path / "my.csv").write_text("\n".join(["a,b,text,kind", *rows]) + "\n")
    return tmp_path / "my.csv"


OWN = ["--dataset", "path:my.csv", "--label-column", "kind"]


def run(capsys, monkeypatch, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", ["nlcore", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    return capsys.readouterr().out


def test_own_data_have_the_same_options_for_noise_as_for_training(table, capsys, monkeypatch):
    own = [*OWN, "--text-column", "text", "--test", "0.25"]
    said = run(capsys, monkeypatch, "noise", *own, "--noise", "symmetric", "--out", "labels.npz")
    assert "of path:my.csv[30 of 40]" in said
    run(capsys, monkeypatch, "train", *own, "--noise", "file:labels.npz", "--epochs", "2", "--out", "run")
    assert json.loads((table.parent / "run" / "result.json").read_text())["class_names"] == ["no", "yes"]


def test_a_finished_run_of_own_data_is_finished_until_they_change(table, capsys, monkeypatch, refusal):
    command = ["train", *OWN, "--epochs", "2", "--out", "run"]
    run(capsys, monkeypatch, *command)
    assert "holds this run already, finished" in run(capsys, monkeypatch, *command)
    table.write_text(table.read_text().replace("yes", "maybe"))
    assert "run holds this run of other files (changed: data); choose another folder" in refusal(*command)


@pytest.mark.parametrize(("test", "words"), [("1", "share"), ("20", "share"), ("nowhere.csv", "there is no folder")])
def test_a_test_set_in_numbers_is_a_share(table, refusal, test, words):
    assert words in refusal("train", *OWN, "--test", test, "--out", "run")


def test_a_network_that_does_not_fit_is_the_only_line(table, refusal):
    line = refusal("train", *OWN, "--budget", "short", "--out", "run")
    assert "holds vectors; networks for them are mlp, linear, not preact_resnet18" in line


def test_a_sweep_refuses_a_time_budget_out_of_range(tmp_path, refusal):
    (tmp_path / "grid.yml").write_text("cells: [{method: ce}]")
    line = refusal("sweep", tmp_path / "grid.yml", "--out", tmp_path / "out", "--time-budget", "nan")
    assert "time_budget must be at least 0, not nan" in line


def test_a_sweep_without_time_says_so_in_one_line_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    (tmp_path / "grid.yml").write_text("cells: [{method: ce, epochs: 1, seed: [0, 1, 2, 3]}]")
    command = ["nlcore", "sweep", str(tmp_path / "grid.yml"), "--out", str(tmp_path / "out"), "--time-budget", "0"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == 75 and said.out == "4 of 4 cells not begun: no time left for them\n"
    assert said.err == "nlcore: 4 of 4 cells are not finished; the same command goes on\n"
    assert not (tmp_path / "out").exists()
