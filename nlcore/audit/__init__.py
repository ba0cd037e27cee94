"""Which labels of a data set are wrong: evidence, calibration, a report that a person works through."""
