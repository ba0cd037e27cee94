"""One thread a process: pytest runs several workers, and threads that wait for each other cost more than they bring.

Set before torch is imported, and inherited by every process that a test starts.
"""

import mmap
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def pages():
    """`pages(size)`: memory straight from the system, each page touched; an allocator may hand out what the process
    already holds."""

    def take(size: int) -> mmap.mmap:
        memory = mmap.mmap(-1, size)
        memory[::4096] = b"1" * len(range(0, size, 4096))
        return memory

    return take
