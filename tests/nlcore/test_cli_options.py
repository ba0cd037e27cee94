"""What several commands share."""

from nlcore.cli_options import data_options


def test_options_that_were_not_given_are_left_out_and_a_test_set_in_numbers_is_a_share():
    assert data_options(None, label_column="kind", image_size=None) == {"label_column": "kind"}
    assert data_options("0.2") == {"test": 0.2} and data_options("1") == {"test": 1}
    assert data_options("test.csv") == {"test": "test.csv"} and data_options("true") == {"test": "true"}
