import csv
import json
import math
from types import SimpleNamespace

import pytest
import torch

from nlcore import InputError, NoisyLabels, Result, TrainConfig
from nlcore.training.networks import build_network
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
    share = 0.0 if holdout[0] is None else 0.1
    config = TrainConfig(network="digits_cnn", epochs=len(test), holdout=share).resolved()
    history = [{"test_accuracy": t, "holdout_accuracy": h} for t, h in zip(test, holdout, strict=True)]
    labels = torch.arange(8) % 3
    state = SimpleNamespace(
        config=config,
        learners=[SimpleNamespace(student=build_network("digits_cnn", 1, 3, seed=0))],
        given_labels=labels,
        index=torch.arange(8),
        precision="float32",
        class_names=("0", "1", "2"),
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
    with pytest.raises(InputError, match=r"result\.json is damaged; delete it"):
        check_output_folder(tmp_path, TrainConfig())


def test_checking_a_folder_writes_nothing(tmp_path):
    check_output_folder(tmp_path / "a" / "b", TrainConfig())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        check_output_folder(tmp_path / "file" / "run", TrainConfig())
