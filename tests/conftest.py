"""One thread a process: pytest runs several workers, and threads that wait for each other cost more than they bring.

Set before torch is imported, and inherited by every process that a test starts.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
