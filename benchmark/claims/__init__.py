"""The experiments of the reproduction ledger: `python -m benchmark.claims --help`."""
