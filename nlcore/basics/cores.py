"""How much can run side by side here."""

import logging
import os

log = logging.getLogger(__name__)


def cores() -> int:
    """Processor cores that this process may use; `taskset` and containers take some away."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_most_cores(number: int, what: str) -> int:
    """`number`, or the number of cores if that is less, with a warning: more than cores would wait for each other."""
    if number > cores():
        log.warning("%d %s are more than the %d cores that can be used here: cut", number, what, cores())
    return min(number, cores())
