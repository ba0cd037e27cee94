"""The processes that run the cells of a sweep: what they tell, and that none outlives the one that started it."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from nlcore.basics.cores import cores
from nlcore.basics.progress import Board

_news = None  # of a worker: the queue to its parent


@contextmanager
def workers_of(board: Board, number: int) -> Iterator[ProcessPoolExecutor]:
    """So many fresh processes, which share the cores; what they `tell` goes to the board."""
    spawn = multiprocessing.get_context("spawn")  # a forked process cannot use an accelerator
    news = spawn.SimpleQueue()
    threading.Thread(target=_pass_on, args=(news, board), daemon=True).start()
    pool = ProcessPoolExecutor(number, spawn, _begin, (max(1, cores() // number), news))
    try:
        yield pool
    finally:  # an interrupted grid drops the cells that have not begun
        pool.shutdown(cancel_futures=True)
        news.put(None)


def tell(name: str, words: str) -> None:
    """Tell the parent of this worker, if it is one, that a cell has begun (no words) or how far it is."""
    if _news is not None:
        _news.put((name, words))


def _pass_on(news: Any, board: Board) -> None:
    """Tell the board what the workers say, until None comes."""
    while (message := news.get()) is not None:
        name, words = message
        if words:
            board.note(name, words)
        else:
            board.start(name)


def _begin(threads: int, news: Any) -> None:
    """Prepare a fresh process: its threads, its news, and that it does not outlive the one that started it."""
    global _news
    _news = news
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the process that started this one, then end this one too.

    A worker whose parent was killed would run its cell to the end, unseen, and then wait for the next one for ever. The
    first SIGTERM stops a run after its epoch, with a checkpoint; a later one, when nothing runs, ends the process.
    """
    multiprocessing.parent_process().join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
