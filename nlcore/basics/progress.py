"""What is done, what is running, what is left: said while it happens, on a terminal and in a log.

On a terminal one line is kept up to date; in a log there is a plain line at each start, at each end and every minute,
so that nobody has to guess whether anything still moves. A notebook shows neither: its page is not a log.

Whoever waits for another process, as the book's executor does for a notebook, can also listen to its heart: `beat` is
called after every epoch, and touches the file that `$NLCORE_HEARTBEAT` names.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

HEARTBEAT = "NLCORE_HEARTBEAT"  # the environment variable; processes that are started inherit it
REUSE = "NLCORE_REUSE"  # the environment variable that names the file of `reused`
MINUTE = 60.0


def beat() -> None:
    """Show whoever listens that something has advanced; without a listener do nothing."""
    if path := os.environ.get(HEARTBEAT):
        with contextlib.suppress(OSError):  # a listener that is gone has no need of it
            Path(path).touch()


def reused(kept: Path) -> None:
    """Tell whoever listens that a run was read from a file instead of run, and how old the file is."""
    if path := os.environ.get(REUSE):
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{kept.stat().st_mtime}\n")


def duration(seconds: float) -> str:
    """A time in words: `8 s`, `1 min 40 s`, `2 h 5 min`."""
    seconds = max(1, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def seconds_left(
    expected: Mapping[str, float],
    finished: Mapping[str, float],
    running: Mapping[str, float],
    at_a_time: int,
    widths: Mapping[str, int] | None = None,
) -> float | None:
    """About how long the rest takes; None before anything can be said.

    This machine's speed is what the finished ones took, over what was expected of them; something that runs for longer
    than expected shows that it is slower. Work that nobody has measured is expected to be as long as the mean.

    Parameters
    ----------
    expected : name -> seconds on some machine, or any measure of work; NaN where nobody knows.
    finished : name -> seconds that it took here.
    running : name -> seconds so far.
    at_a_time : how many run side by side.
    widths : name -> how many places it takes, where that is not 1.
    """
    known = [seconds for seconds in expected.values() if seconds == seconds]
    usual = sum(known) / len(known) if known else 1.0
    work = {name: seconds if seconds == seconds else usual for name, seconds in expected.items()}
    if not (known or finished):
        return None
    done = sum(work[name] for name in finished)
    speed = sum(finished.values()) / done if done else 1.0
    speed = max([speed, *(seconds / work[name] for name, seconds in running.items() if work[name])])
    rest = {name: speed * work[name] - running.get(name, 0.0) for name in work if name not in finished}
    places = sum(seconds * (widths or {}).get(name, 1) for name, seconds in rest.items())
    return max(places / at_a_time, max(rest.values(), default=0.0))


def is_terminal() -> bool:
    """Whether a line on standard error can be written over."""
    return sys.stderr.isatty()


def is_notebook() -> bool:
    """Whether this process runs a notebook's cells."""
    # Another thread may be importing IPython just now.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class Board:
    """The progress of several things that run side by side; a context manager.

    Parameters
    ----------
    names : what there is to do.
    unit : what they are, in the plural: `notebooks`, `runs`.
    expected : name -> seconds, as for `seconds_left`; None where nobody knows.
    at_a_time, widths : how many run side by side, and which take more than one place.
    """

    def __init__(
        self,
        names: Iterable[str],
        unit: str,
        expected: Mapping[str, float] | None = None,
        at_a_time: int = 1,
        widths: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.expected = {name: (expected or {}).get(name, float("nan")) for name in names}
        self.unit, self.at_a_time, self.widths, self.clock = unit, at_a_time, widths, clock
        self.begun, self.notes, self.finished = {}, {}, {}
        self.since = clock()
        self._lock, self._ended, self._line = threading.Lock(), threading.Event(), None
        self._keeper = threading.Thread(target=self._keep_up, daemon=True)

    def start(self, name: str) -> None:
        """Say that one begins."""
        with self._lock:
            self.begun[name] = self.clock()
        if not is_terminal():
            self.say(f"{name}  started")

    def note(self, name: str, words: str) -> None:
        """Remember how far one has come, `epoch 3 of 30`, for the next line."""
        with self._lock:
            self.begun.setdefault(name, self.clock())
            self.notes[name] = words

    def end(self, name: str, words: str = "", counts: bool = True) -> None:
        """Say that one has ended, and how, if there are words; `counts` if its time tells this machine's speed."""
        with self._lock:
            begun = self.begun.pop(name, None)
            self.notes.pop(name, None)
            if begun is not None and counts:
                self.finished[name] = self.clock() - begun
            else:
                self.expected.pop(name, None)
        if words:
            self.say(f"{name}  {words}")

    def state(self) -> str:
        """`5 of 17 notebooks; running 02_mining 12 s; about 3 min 5 s left`."""
        with self._lock:
            running = {name: self.clock() - begun for name, begun in self.begun.items()}
            left = seconds_left(self.expected, self.finished, running, self.at_a_time, self.widths)
            parts = [f"{len(self.finished)} of {len(self.expected)} {self.unit}"]
            if running:
                words = [f"{name} {duration(seconds)}{self._note(name)}" for name, seconds in running.items()]
                parts.append("running " + ", ".join(words))
        if left is not None and len(self.finished) < len(self.expected):
            parts.append(f"about {duration(left)} left")
        return "; ".join(parts)

    def _note(self, name: str) -> str:
        return f" ({self.notes[name]})" if name in self.notes else ""

    def say(self, line: str) -> None:
        """Write a line that stays, above the one that is kept up to date."""
        if is_notebook():
            return
        live = self._line
        if live is not None:
            live.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            # In one piece: `print` writes the end of a line apart, and the lines of two threads would mix.
            print(f"{line}\n", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> "Board":
        if not is_notebook():
            self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._keeper.ident is not None:
            self._keeper.join()

    def _keep_up(self) -> None:
        """Until the end: one line on a terminal, a line a minute in a log. No lock is held while rich holds its own."""
        if not is_terminal():
            while not self._ended.wait(MINUTE):
                self.say(f"after {duration(self.clock() - self.since)}: {self.state()}")
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        def line() -> Text:
            return Text(self.state(), no_wrap=True, overflow="ellipsis")

        with Live(
            console=Console(stderr=True),
            get_renderable=line,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # lines for a file go into the file
        ) as live:
            self._line = live
            while not self._ended.wait(0.5):
                live.refresh()
            self._line = None


@contextlib.contextmanager
def steps(total: int, what: str, unit: str) -> Iterator[Callable[[int, str], None]]:
    """The progress of one long thing: `with steps(30, "training", "epochs") as advance: advance(1, "97 %")`.

    `advance(number, words)` says that so many are done, counted from 1, and something about the last one. A log hears
    nothing of what is over within a minute.
    """
    if is_notebook():
        yield lambda number, words="": None
        return
    if is_terminal():
        from tqdm import tqdm

        with tqdm(total=total, desc=what, unit=unit.removesuffix("s")) as bar:

            def advance(number: int, words: str = "") -> None:
                bar.set_postfix_str(words, refresh=False)
                bar.update(number - bar.n)

            yield advance
        return
    since = told = time.monotonic()
    first = last = None

    def tell(number: int, words: str = "") -> None:
        nonlocal told, first, last
        now, last = time.monotonic(), number
        if first is None:
            first = number, now  # a run that goes on did not begin at 0
        if now - told >= MINUTE and number < total:
            done = number - first[0]
            left = f"; about {duration((now - first[1]) / done * (total - number))} left" if done else ""
            line = f"{what}: {number} of {total} {unit} after {duration(now - since)}{left}"
            print(f"{line}; {words}" if words else line, file=sys.stderr, flush=True)
            told = now

    yield tell
    if last == total and told > since:
        print(f"{what}: done in {duration(time.monotonic() - since)}", file=sys.stderr, flush=True)
