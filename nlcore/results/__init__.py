"""Many runs: grids, sweeps that run what is missing, tables over seeds, and published rows beside ours."""
