"""Scripts that build, check and measure; run them from the repository root as ``python -m tools.NAME``."""
