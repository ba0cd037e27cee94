import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from nlcore import InputError, NoisyLabels, Result, TrainConfig
from nlcore.basics.machine import code_version, environment, peak_memory_mb, reset_peak_memory
from nlcore.results.tables import read_results
from nlcore.selection.division import Division, Snapshot
from nlcore.training.networks import build_network
from nlcore.training.report import describe_division, sample_table
from nlcore.training.result import check_output_folder

SAMPLES = {
    "index": [0, 1],
    "given_label": [3, 4],
    "true_label": [3, ""],
    "set": ["easy", "hard"],
    "clean_prob": [0.9, 0.125],
    "corrected_label": [3, 5],
}


def made_result(**changes) -> Result:
    values = {
        "config": TrainConfig(epochs=2).resolved(),
        "noise": {"kind": "symmetric", "rate": 0.4, "realised_rate": 0.36, "identity": "symmetric rate=0.4"},
        "network": {"name": "digits_cnn", "stem": "3x3", "parameters": 3, "count": 1},
        "history": [
            {"epoch": 1, "test_accuracy": 97.25},
            {
                "epoch": 2,
                "test_accuracy": 96.94,
                "sets": {"easy": {"size": 1}},
                "labelled": {"size": 1},
                "auc": math.nan,
            },
        ],
        "best": 97.25,
        "last": 96.94,
        "last10": 97.095,
        "fair": None,
        "images": 1347,
        "samples": SAMPLES,
        "wall_seconds": 1.5,
        "peak_memory_mb": 321.5,
        "environment": {"device": "cpu: made", "code": "abc"},
    }
    return Result(**values | changes)


def test_the_summary_is_in_per_cent_with_one_decimal():
    assert made_result(best=97.21, last=96.94, last10=96.75).summary() == "best 97.2  last 96.9  last10 96.8"


def test_the_summary_ends_with_the_fair_choice_where_there_is_one():
    assert made_result(fair=96.06).summary().endswith("last10 97.1  fair 96.1")


def made_run(holdout: list[float | None], test: list[float]) -> Result:
    """A result gathered from a run with these accuracies by epoch."""
    config = TrainConfig(epochs=len(test), holdout=0.0 if holdout[0] is None else 0.1).resolved()
    history = [{"test_accuracy": t, "holdout_accuracy": h} for t, h in zip(test, holdout, strict=True)]
    labels = torch.arange(8) % 3
    state = SimpleNamespace(
        config=config,
        learners=[SimpleNamespace(student=build_network("digits_cnn", 1, 3, seed=0))],
        given_labels=labels,
        index=torch.arange(8),
    )
    noisy = NoisyLabels.measured(labels, labels, 3, "made")
    return Result.of(state, noisy, history, SAMPLES, 1.0)


def test_best_last_and_mean_of_the_last_ten_by_hand():
    result = made_run([None] * 12, [99.0, *map(float, range(11))])
    assert (result.best, result.last, result.last10, result.fair) == (99.0, 10.0, 5.5, None)


def test_fair_is_the_test_accuracy_of_the_epoch_that_the_holdout_chooses_and_not_the_best():
    assert made_run([50.0, 60.0, 60.0, 40.0], [70.0, 80.0, 85.0, 90.0]).fair == 80.0


def test_a_result_names_network_stem_size_and_a_hash_of_the_labels():
    result = made_run([None], [50.0])
    # Convolutions 1-32-32-64-64 without bias, two numbers a channel in batch norm, three classes.
    parameters = 9 * (32 + 32 * 32 + 32 * 64 + 64 * 64) + 2 * (32 + 32 + 64 + 64) + 3 * (64 + 1)
    assert result.network == {"name": "digits_cnn", "stem": "3x3", "parameters": parameters, "count": 1}
    assert result.images == 8 and len(result.noise["labels_sha256"]) == 12


def test_peak_memory_is_that_since_the_reset(pages):
    device = torch.device("cpu")
    if peak_memory_mb(device) is None:
        pytest.skip("this system does not say")
    big = pages(100_000_000)
    reset_peak_memory(device)
    with_big = peak_memory_mb(device)
    big.close()
    reset_peak_memory(device)
    without = peak_memory_mb(device)
    assert 80 < with_big - without < 120
    held = pages(50_000_000)
    assert 40 < peak_memory_mb(device) - without < 60
    held.close()


def test_the_dictionary_is_strict_json_and_nan_becomes_null():
    text = json.dumps(made_result().to_dict(), allow_nan=False)
    values = json.loads(text)
    assert values["history"][1]["auc"] is None and values["division"]["sets"]["easy"]["size"] == 1
    assert TrainConfig.from_dict(values["config"]) == made_result().config


def test_infinity_in_the_depth_of_a_history_becomes_null_too():
    values = made_result(history=[{"test_accuracy": 1.0, "a": {"b": [math.inf, 2.0]}}]).to_dict()
    assert values["history"][0]["a"]["b"] == [None, 2.0]


def test_a_saved_run_is_two_files_that_hold_everything(tmp_path):
    made_result().save(tmp_path / "new" / "folder")
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == ["result.json", "samples.csv"]
    values = json.loads((tmp_path / "new" / "folder" / "result.json").read_text())
    assert (values["best"], values["last"], values["last10"]) == (97.25, 96.94, 97.095)
    with open(tmp_path / "new" / "folder" / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(SAMPLES)
    assert rows[1] == {k: str(v[1]) for k, v in SAMPLES.items()}


def test_a_folder_with_another_run_is_refused_and_left_alone(tmp_path):
    made_result().save(tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    other = made_result(config=TrainConfig(epochs=2, seed=1).resolved())
    with pytest.raises(InputError, match="another run"):
        other.save(tmp_path)
    assert (tmp_path / "result.json").read_bytes() == before


def test_the_same_configuration_may_be_run_again(tmp_path):
    made_result().save(tmp_path)
    made_result(last=50.0).save(tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["last"] == 50.0


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json", '{"config": 3}'])
def test_a_folder_with_an_unreadable_result_is_refused(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError, match="another run"):
        check_output_folder(tmp_path, TrainConfig())


def test_checking_a_folder_writes_nothing(tmp_path):
    check_output_folder(tmp_path / "a" / "b", TrainConfig())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        check_output_folder(tmp_path / "file" / "run", TrainConfig())


def test_the_reader_gives_one_row_a_file(tmp_path):
    made_result().save(tmp_path / "a")
    made_result(config=TrainConfig(epochs=2, seed=3, method="ce").resolved(), last=12.0).save(tmp_path / "b" / "c")
    table = read_results(tmp_path)
    assert table["seed"].tolist() == [0, 3] and table["method"].tolist() == ["tssd", "ce"]
    assert table["last"].tolist() == [96.94, 12.0] and table["realised_rate"].tolist() == [0.36, 0.36]
    assert table["path"].tolist() == [str(tmp_path / "a" / "result.json"), str(tmp_path / "b" / "c" / "result.json")]


def test_an_empty_folder_gives_an_empty_table(tmp_path):
    assert len(read_results(tmp_path)) == 0


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"config": {}}'])
def test_the_reader_leaves_a_damaged_file_out_and_says_so_in_one_line(tmp_path, content, caplog):
    made_result().save(tmp_path / "good")
    (tmp_path / "bad.json").write_text(content)
    assert read_results(tmp_path)["path"].tolist() == [str(tmp_path / "good" / "result.json")]
    (message,) = caplog.messages
    assert "bad.json is not a result file" in message and "\n" not in message


def test_the_reader_does_not_look_into_hidden_folders(tmp_path):
    made_result().save(tmp_path / ".unfinished" / "cell")
    assert len(read_results(tmp_path)) == 0


# -- a division of eight samples by hand

TRUE = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
GIVEN = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0])  # five right, three wrong (3, 6, 7)
TARGET = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0])  # sample 3 was corrected
MEMBERSHIP = torch.tensor([0, 0, 2, 1, 0, 2, 0, 2])  # easy 0 1 4 6, corrected 3, hard 2 5 7


def made_state(true=TRUE):
    return SimpleNamespace(given_labels=GIVEN, true_labels=true, num_classes=3, index=torch.arange(10, 18))


def made_division():
    labelled = MEMBERSHIP < 2
    return Division(("easy", "corrected", "hard"), MEMBERSHIP, labelled, TARGET, torch.ones(8), torch.ones(8))


def test_precision_and_recall_of_each_set_by_hand():
    row = describe_division(made_division(), {}, ("easy", "corrected"), made_state())
    # easy: 0, 1, 4 right and 6 wrong; of five right given labels three are here.
    assert row["sets"]["easy"] == {"size": 4, "precision": 3 / 4, "recall": 3 / 5}
    # corrected: its target is right, its given label was not.
    assert row["sets"]["corrected"] == {"size": 1, "precision": 1.0, "recall": 0.0}
    # hard, labels dropped: only 7 is wrong; of three wrong given labels one is here.
    assert row["sets"]["hard"] == {"size": 3, "precision": 1 / 3, "recall": 1 / 3}


def test_the_labelled_set_joins_the_labelled_sets_and_counts_its_classes():
    labelled = describe_division(made_division(), {}, ("easy", "corrected"), made_state())["labelled"]
    assert labelled["size"] == 5 and labelled["precision"] == 4 / 5 and labelled["recall"] == 3 / 5
    assert labelled["f1"] == pytest.approx(2 * 0.8 * 0.6 / 1.4)
    assert labelled["histogram"] == [4, 1, 0]  # a dead class is a zero that stays in sight


def test_unknown_true_labels_give_none():
    row = describe_division(made_division(), {}, ("easy", "corrected"), made_state(true=None))
    assert row["sets"]["easy"] == {"size": 4, "precision": None, "recall": None}
    assert row["labelled"]["f1"] is None and row["labelled"]["histogram"] == [4, 1, 0]


def test_an_empty_set_has_no_precision():
    division = replace(made_division(), set_names=("easy", "corrected", "hard", "never"))
    assert describe_division(division, {}, ("easy",), made_state())["sets"]["never"]["precision"] is None


def test_numbers_of_a_report_are_kept_and_tensors_are_not():
    row = describe_division(made_division(), {"auc": 0.5, "scores": TRUE, "quality": {"rank": 2.0}}, (), made_state())
    assert row["auc"] == 0.5 and row["quality"] == {"rank": 2.0} and "scores" not in row


def test_the_sample_table_corrects_labelled_samples_by_target_and_others_by_prediction():
    logits = torch.nn.functional.one_hot(torch.full((8,), 2), 3).float()
    table = sample_table(made_state(), Snapshot(logits, torch.zeros(8, 1), torch.zeros(8)), made_division())
    assert table["index"] == list(range(10, 18))
    assert table["set"] == ["easy", "easy", "hard", "corrected", "easy", "hard", "easy", "hard"]
    assert table["corrected_label"] == [0, 0, 2, 0, 1, 2, 0, 2]
    assert table["given_label"] == GIVEN.tolist() and table["true_label"] == TRUE.tolist()


def test_the_environment_names_versions_code_and_device():
    found = environment(torch.device("cpu"))
    assert (
        found["torch"] == torch.__version__ and found["device"].startswith("cpu: ") and found["code"] == code_version()
    )
    assert all(isinstance(value, str) for value in found.values())
