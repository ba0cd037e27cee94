"""Stop anywhere, go on exactly: whatever is asked of a run that went on is asked of the run that never stopped."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from nlcore import InputError, TrainConfig, cli, load_dataset, train
from nlcore.basics.errors import Paused
from nlcore.methods import METHODS
from nlcore.training import checkpoint
from nlcore.training import run as one_run
from nlcore.training.checkpoint import MAGIC, NAME, PREVIOUS, read
from nlcore.training.mixmatch import PAPER_SSL
from nlcore.training.run import first_interrupt_stops


@pytest.fixture(autouse=True, scope="module")
def a_checkpoint_every_epoch():
    """Nobody waits a minute here; the two tests of the minute bring it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_run, "KEEP_EVERY", 0.0)
        yield


def small(**changes) -> TrainConfig:
    """120 digits, one epoch of warm-up and three of the method."""
    fixed = {"method": "dividemix", "subset": 120, "epochs": 4, "warmup_epochs": 1, "device": "cpu"}
    return TrainConfig(**fixed | changes)


class Stop(Exception):
    pass


def stop_after(epochs: int):
    """What to call after every epoch, so that a run ends in the middle."""

    def on_epoch(epoch):
        if epoch.row["epoch"] == epochs:
            raise Stop

    return on_epoch


def stopped(config, folder, epochs: int = 2):
    """A folder in which a run has come so far."""
    with pytest.raises(Stop):
        train(config, folder=folder, on_epoch=stop_after(epochs))
    return folder


def numbers(result) -> list[str]:
    """The history without what a clock says; as texts, in which NaN equals NaN."""
    return [repr({key: value for key, value in row.items() if key != "seconds"}) for row in result.history]


def assert_same(a, b):
    """Nested values are equal bit for bit."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    else:
        assert a == b or (a != a and b != b)


def epochs_trained(config, folder) -> list[int]:
    """The epochs that a call of `train` still has to do."""
    told = []
    train(config, folder=folder, on_epoch=lambda epoch: told.append(epoch.row["epoch"]))
    return told


# -- exactness

VARIANTS = {
    **{
        f"{method}, {n} networks": {"method": method, "networks": n}
        for method in METHODS
        for n in (1, 2)
        if (method, n) != ("coteaching", 1)  # refuses one
    },
    "paper": {"method": "tssd", "preset": "paper"},
    "strong": {"method": "anchor", "ssl": replace(PAPER_SSL, strong=True), "ema_decay": 0.0},
    "balanced": {"method": "tssd", "subset": None, "balanced_images": 100},
    "balanced, truncated": {"method": "gce", "subset": None, "balanced_images": 100},
    "estimated forget rate": {"method": "coteaching", "noise": "given", "holdout": 0.2},
    "history and hold-out": {"method": "dividemix", "loss_history": 3, "holdout": 0.2, "networks": 2},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_run_that_was_stopped_and_went_on_equals_one_that_was_not(changes, tmp_path):
    config = small(**changes)
    whole = train(config, folder=tmp_path / "whole")
    stopped(config, tmp_path / "parts")
    torch.rand(7)  # what else happens in the process does not matter
    parts = train(config, folder=tmp_path / "parts")
    assert numbers(whole) == numbers(parts) and whole.samples == parts.samples
    assert (whole.best, whole.last, whole.fair) == (parts.best, parts.last, parts.fair)
    first, second = (read(tmp_path / name / NAME) for name in ("whole", "parts"))
    for values in (first, second):
        del values["seconds"]
        for row in values["history"]:
            del row["seconds"]
    assert_same(first, second)
    assert len(first["learners"]) == config.resolved().networks and first["learners"][0]["step"] > 0


def test_a_checkpoint_changes_no_number(tmp_path):
    config = small(method="anchor")
    assert numbers(train(config)) == numbers(train(config, folder=tmp_path))


def test_a_run_may_stop_after_every_epoch(tmp_path):
    config = small(method="anchor")
    whole = train(config)
    for epoch in (1, 2, 3):
        stopped(config, tmp_path, epoch)
    assert numbers(train(config, folder=tmp_path)) == numbers(whole)


def test_only_what_is_left_is_trained(tmp_path):
    stopped(small(), tmp_path, 3)
    assert epochs_trained(small(), tmp_path) == [4]


def test_the_result_of_a_finished_run_is_given_again_without_training(tmp_path):
    config = small()
    first = train(config, folder=tmp_path)
    told = []
    again = train(config, folder=tmp_path, on_epoch=told.append)
    assert told == [] and again.history == first.history and again.samples == first.samples
    assert again.wall_seconds == pytest.approx(first.wall_seconds, abs=1) and again.config == first.config


def test_the_seconds_of_all_parts_are_added(tmp_path):
    stopped(small(), tmp_path)
    before = read(tmp_path / NAME)["seconds"]
    result = train(small(), folder=tmp_path)
    assert before > 0 and result.wall_seconds > before
    assert result.wall_seconds >= sum(row["seconds"] for row in result.history)


@pytest.mark.parametrize(
    ("seconds", "budget", "written"), [(0.0, None, [1, 2, 3, 4]), (60.0, None, [4]), (60.0, 0.0, [1])]
)
def test_a_checkpoint_is_written_when_it_is_due_at_a_stop_and_at_the_end(
    seconds, budget, written, tmp_path, monkeypatch
):
    found = []
    monkeypatch.setattr(one_run, "KEEP_EVERY", seconds)
    monkeypatch.setattr(checkpoint, "save", lambda folder, state, noise, progress: found.append(len(progress.history)))
    with nullcontext() if budget is None else pytest.raises(Paused):
        train(small(), folder=tmp_path, time_budget=budget)
    assert found == written


def test_a_checkpoint_is_due_a_while_after_the_one_before(tmp_path, monkeypatch):
    """On a clock that only epochs move, by 25 s each."""
    found, clock = [], SimpleNamespace(now=0.0)
    monkeypatch.setattr(one_run, "KEEP_EVERY", 60.0)
    monkeypatch.setattr(one_run.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(checkpoint, "save", lambda folder, state, noise, progress: found.append(len(progress.history)))
    train(small(epochs=8), folder=tmp_path, on_epoch=lambda epoch: setattr(clock, "now", clock.now + 25.0))
    assert found == [4, 7, 8]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(small(epochs=2))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_holds_the_last_two_checkpoints_and_nothing_else(tmp_path):
    stopped(small(), tmp_path / "new" / "folder", 3)
    files = {path.name: len(read(path)["history"]) for path in (tmp_path / "new" / "folder").iterdir()}
    assert files == {NAME: 3, PREVIOUS: 2}


# -- files that are not whole


@pytest.fixture(scope="module")
def halfway(tmp_path_factory):
    """A folder with the checkpoints of epochs 1 and 2; each test takes a copy."""
    return stopped(small(), tmp_path_factory.mktemp("halfway"))


@pytest.fixture
def folder(halfway, tmp_path):
    for name in (NAME, PREVIOUS):
        (tmp_path / name).write_bytes((halfway / name).read_bytes())
    return tmp_path


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "truncated": (lambda content: content[:-1000], "damaged"),
    "one bit": (flipped, "damaged"),
    "longer": (lambda content: content + b"\0", "damaged"),
    "header alone": (lambda content: content[: content.index(b"\n") + 1], "damaged"),
    "no line": (lambda content: MAGIC + b"00", "damaged"),
    "empty": (lambda content: b"", "not a checkpoint"),
    "foreign": (lambda content: b"PK\x03\x04 something else", "not a checkpoint"),
    "header not text": (lambda content: MAGIC + b"\xff\xfe\n" + content, "cannot be read"),
}


@pytest.mark.parametrize(("damage", "word"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damage, word, folder, caplog):
    (folder / NAME).write_bytes(damage((folder / NAME).read_bytes()))
    with pytest.raises(InputError, match=f"{NAME}.*{word}") as error:
        read(folder / NAME)
    assert "\n" not in str(error.value)
    assert epochs_trained(small(), folder) == [2, 3, 4]  # the second epoch is repeated
    assert f"{folder / NAME}" in caplog.text and "going on from the one before" in caplog.text


def test_going_on_from_the_one_before_gives_the_same_numbers(folder):
    (folder / NAME).write_bytes(b"")
    assert numbers(train(small(), folder=folder)) == numbers(train(small()))


def test_two_damaged_checkpoints_are_an_error_that_names_both(folder):
    for name in (NAME, PREVIOUS):
        (folder / name).write_bytes(flipped((folder / name).read_bytes()))
    with pytest.raises(InputError, match=f"{NAME} is damaged.*{PREVIOUS} is damaged.*delete the folder") as error:
        train(small(), folder=folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", [NAME, PREVIOUS])
def test_one_of_the_two_is_enough(missing, folder):
    (folder / missing).unlink()
    assert epochs_trained(small(), folder) == ([2, 3, 4] if missing == NAME else [3, 4])


def test_a_folder_without_a_checkpoint_begins_at_the_beginning(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert epochs_trained(small(epochs=2), tmp_path) == [1, 2]
    assert (tmp_path / "notes.txt").read_text() == "mine"


class Evil:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_code_in_it_is_refused_and_the_code_does_not_run(zipped, folder, tmp_path):
    victim, file = tmp_path / "victim", tmp_path / "body"
    torch.save({"history": Evil(f"touch {victim}")}, file, _use_new_zipfile_serialization=zipped)
    body = file.read_bytes()
    for name in (NAME, PREVIOUS):
        (folder / name).write_bytes(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    with pytest.raises(InputError, match="cannot be read") as error:
        train(small(), folder=folder)
    assert not victim.exists() and "\n" not in str(error.value)
    torch.load(file, weights_only=False)  # it would have done harm
    assert victim.exists()


# -- checkpoints of something else


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 5}, "epochs"),
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"seed": 1}, "seed"),
        ({"method": "tssd"}, "method, settings"),
        ({"networks": 2}, "networks"),
        ({"ssl": PAPER_SSL}, "ssl"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_configuration_is_refused_and_says_what_differs(changes, named, folder):
    before = (folder / NAME).read_bytes()
    with pytest.raises(InputError, match=rf"another configuration \(different: {named}\); choose another") as error:
        train(small(**changes), folder=folder)
    assert "\n" not in str(error.value) and (folder / NAME).read_bytes() == before


def test_a_checkpoint_of_other_labels_is_refused(tmp_path):
    config = small(method="ce", noise="given")
    stopped(config, tmp_path)
    digits = load_dataset("digits")
    other = replace(digits, train_labels=(digits.train_labels + 1) % 10)
    with pytest.raises(InputError, match=r"a checkpoint of other data or labels \(.*digits.*\)"):
        train(config, other, folder=tmp_path)


def test_a_checkpoint_that_other_code_has_made_is_refused(folder, monkeypatch):
    mine = checkpoint.code_version()
    monkeypatch.setattr(checkpoint, "code_version", lambda: "0123456789ab")
    with pytest.raises(InputError, match=f"other code has made \\({mine}, now 0123456789ab\\).*delete it"):
        train(small(), folder=folder)


# -- a time budget


def test_a_time_budget_stops_after_an_epoch_and_the_same_call_goes_on(tmp_path):
    config, parts = small(method="anchor"), 0
    while True:
        try:
            result = train(config, folder=tmp_path, time_budget=0)
            break
        except Paused as stop:
            parts += 1
            assert str(stop) == f"stopped after epoch {parts} of 4; the same command goes on"
            assert len(read(tmp_path / NAME)["history"]) == parts
    assert parts == 3 and numbers(result) == numbers(train(config))


def test_a_time_budget_that_is_long_enough_changes_nothing():
    assert len(train(small(epochs=2), time_budget=1000).history) == 2


# -- signals


EVERY_EPOCH = "from nlcore import cli; from nlcore.training import run; run.KEEP_EVERY = 0.0; cli.main()"
TRAIN = "train --method dividemix --subset 120 --epochs 20 --warmup-epochs 1 --set device=cpu".split()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Two processes of the command line, at the same time: each got its signal when it had written a checkpoint."""
    ended = {}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        out = tmp_path_factory.mktemp(number.name)
        command = [sys.executable, "-c", EVERY_EPOCH, *TRAIN, "--out", str(out)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A job in the background, as these tests may be, ignores Ctrl-C, and so do its children.
        listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(command, env=environment, preexec_fn=listen, **pipes)
        ended[number] = SimpleNamespace(out=out, process=process)
    waiting, deadline = dict(ended), time.monotonic() + 60
    while waiting and time.monotonic() < deadline:
        for number, run in list(waiting.items()):
            if (run.out / NAME).exists():
                run.process.send_signal(number)
                del waiting[number]
        time.sleep(0.005)
    for run in ended.values():
        if waiting:  # no checkpoint within a minute
            run.process.kill()
        run.stdout, run.stderr = run.process.communicate(timeout=60)
        run.done = len(read(run.out / NAME)["history"])
    return ended


@pytest.fixture(scope="module")
def undisturbed():
    """The same run in one go."""
    return train(small(epochs=20))


def finish(out, monkeypatch) -> None:
    """Give the same command again, in this process."""
    monkeypatch.setattr(sys, "argv", ["nlcore", *TRAIN, "--out", str(out)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code


def test_a_killed_process_goes_on_where_it_was(interrupted, monkeypatch, undisturbed):
    run = interrupted[signal.SIGKILL]
    assert run.process.returncode == -signal.SIGKILL and 1 <= run.done < 20
    assert not (run.out / "result.json").exists()
    finish(run.out, monkeypatch)
    last = read(run.out / NAME)
    assert last["samples"] == undisturbed.samples and len(last["history"]) == 20
    assert [row["train_loss"] for row in last["history"]] == [row["train_loss"] for row in undisturbed.history]
    assert (run.out / "result.json").exists()


def test_sigterm_lets_an_epoch_end_and_the_same_command_finishes(interrupted, monkeypatch, undisturbed):
    run = interrupted[signal.SIGTERM]
    assert run.process.returncode == 75 and run.stdout == "" and 1 <= run.done < 20
    assert run.stderr == f"nlcore: stopped after epoch {run.done} of 20; the same command goes on\n"
    finish(run.out, monkeypatch)
    assert read(run.out / NAME)["samples"] == undisturbed.samples


def test_ctrl_c_lets_an_epoch_end_as_sigterm_does_and_says_what_it_waits_for(interrupted, monkeypatch, undisturbed):
    run = interrupted[signal.SIGINT]
    assert run.process.returncode == 75 and 1 <= run.done < 20
    waiting, stopped = run.stderr.splitlines()
    assert waiting == "nlcore: stopping after this epoch; Ctrl-C once more stops at once and loses it"
    assert stopped == f"nlcore: stopped after epoch {run.done} of 20; the same command goes on"
    finish(run.out, monkeypatch)
    assert read(run.out / NAME)["samples"] == undisturbed.samples


@pytest.fixture
def terminal():
    """Ctrl-C as in a terminal: a job in the background, as these tests may be, ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_and_one_that_nobody_waits_for_end_at_once(tmp_path, capsys, terminal):
    with pytest.raises(KeyboardInterrupt), first_interrupt_stops():
        signal.raise_signal(signal.SIGINT)  # outside of a run
    seen = []

    def twice(epoch):
        seen.append(epoch.row["epoch"])
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), first_interrupt_stops():
        train(small(epochs=3), folder=tmp_path, on_epoch=twice)
    assert seen == [1] and capsys.readouterr().err.count("stopping after this epoch") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c(terminal):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with first_interrupt_stops():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_the_handler_of_sigterm_comes_back_after_a_run(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    handlers = []
    train(small(epochs=2), folder=tmp_path, on_epoch=lambda epoch: handlers.append(signal.getsignal(signal.SIGTERM)))
    assert before not in handlers and signal.getsignal(signal.SIGTERM) is before


# -- folders that cannot be written


def test_a_full_disk_is_one_clear_line_and_the_checkpoint_before_survives(folder, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", full)
        with pytest.raises(InputError, match=f"cannot write a checkpoint into {folder}: No space left") as error:
            train(small(), folder=folder)
    assert "\n" not in str(error.value)
    assert epochs_trained(small(), folder) == [3, 4]


def test_a_damaged_checkpoint_never_takes_the_place_of_the_whole_one_before(folder, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (folder / NAME).write_bytes(flipped((folder / NAME).read_bytes()))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", full)
        with pytest.raises(InputError, match="No space left"):
            train(small(), folder=folder)
    assert epochs_trained(small(), folder) == [2, 3, 4]


def test_a_disk_that_fills_up_while_a_checkpoint_is_written_leaves_no_half_of_it(folder, monkeypatch):
    def full(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        write = full

    fdopen = os.fdopen
    with monkeypatch.context() as patch:
        patch.setattr("nlcore.basics.files.os.fdopen", lambda *a: Full(fdopen(*a)))
        with pytest.raises(InputError, match="No space left"):
            train(small(), folder=folder)
    assert {path.name for path in folder.iterdir()} <= {NAME, PREVIOUS}
    assert epochs_trained(small(), folder) == [3, 4]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write into .*file") as error:
        train(small(), folder=tmp_path / "file" / "run")
    assert "\n" not in str(error.value)
