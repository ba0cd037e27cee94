"""Check a built book as its readers meet it, in Chromium without a window: `python -m tools.check_browser FOLDER`.

Every page, light and dark, as wide as a screen and as a phone: nothing is asked of another host, no script fails, links
and images are there, pictures have words, the page does not scroll sideways, no code or table is cut off on a screen,
figures have captions and letters that can be read, and the article passes the WCAG A and AA rules of axe with all of it
opened. Then what readers do: searching, and three tasks with the keyboard alone.
"""

import asyncio
import functools
import itertools
import os
import re
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from axe_playwright_python.base import AXE_SCRIPT
from bs4 import BeautifulSoup
from playwright.async_api import Browser, ConsoleMessage, Error, Page, async_playwright

from tools.check_html import broken, html_files

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
MODES = list(itertools.product(("light", "dark"), (1280, 390)))
SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
# axe rules that may be broken, and why.
ALLOWED: dict[str, str] = {}

SEARCHES = ("hallucinator", "meta classifier", "transition matrix", "GMM", "confident learning", "cleanlab",
            "custom dataset", "label smoothing", "early stopping", "co-teaching")  # fmt: skip
TABLE = ("notebooks/04_benchmark.html", "benchmark-table")  # page, id of the heading
MOST_KEYS = 600  # presses of Tab, after which a reader has given up
PATIENCE = 300  # seconds for one page: a busy machine is no problem of the book

Note = Callable[[str], None]  # takes down a problem of the page


def find_browser() -> str | None:
    """Path of an installed Chromium or Chrome; None is downloaded."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine alone, and give its address: a search page does not work from a file."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        server.handle_error = lambda *_: None  # a tab that is closed does not wait for its answers
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Reader:
    """One browser on one book; collects problems by page, with the modes in which each shows."""

    def __init__(self, browser: Browser, folder: Path, base: str) -> None:
        self.browser, self.folder, self.base = browser, folder.resolve(), base
        self.problems: dict[tuple[str, str], list[str]] = defaultdict(list)  # (page, text): modes
        self.allowed: dict[str, int] = defaultdict(int)  # rule: elements
        self.links: dict[Path, set[str]] = defaultdict(set)
        self.anchors: dict[Path, set[str]] = defaultdict(set)
        self.turns = asyncio.Semaphore(min(4, 1 + (os.cpu_count() or 1)))  # one waits while others work

    def lines(self) -> list[str]:
        """One line for each problem; the modes are named unless it shows in all of them."""
        for page in sorted(self.links):
            for link in sorted(self.links[page]):
                for text in broken(self.folder, page, link, self.anchors):
                    self.problems[page.relative_to(self.folder).as_posix(), text] = []
        return [f"{page}{where(modes)}: {text}" for (page, text), modes in sorted(self.problems.items())]

    @asynccontextmanager
    async def tab(self, name: str, scheme: str = "light", width: int = 1280) -> AsyncIterator[tuple[Page, Note]]:
        """Open a tab in a fresh profile, for one page; note what that asks of other hosts and which scripts fail."""
        mode = f"{scheme} {width}"

        def note(text: str) -> None:
            self.problems[name, text].append(mode)

        def heard(message: ConsoleMessage) -> None:
            source = message.location.get("url", "").removeprefix(self.base)
            blocked = message.text.startswith("WebSocket") or self.outside(source)  # has been noted as a request
            if message.type == "error" and not blocked and source != "favicon.ico":  # any browser asks for that
                note(f"console error: {message.text} {source}".strip())

        def asked(address: str) -> None:
            if self.outside(address):
                note(f"asks another host: {address}")

        async with self.turns:
            context = await self.browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
            context.set_default_timeout(60_000)
            await context.add_init_script(SCRIPT)
            page = await context.new_page()
            page.on("console", heard)
            page.on("pageerror", lambda error: note(f"script error: {error.message}"))
            page.on("request", lambda request: asked(request.url))
            page.on("websocket", lambda socket: asked(socket.url))
            try:
                async with asyncio.timeout(PATIENCE):
                    yield page, note
            except (Error, TimeoutError) as error:
                note(f"could not be checked: {str(error).partition(chr(10))[0] or 'no end in sight'}")
            finally:
                await context.close()

    def outside(self, address: str) -> bool:
        """Whether an address is on another host; addresses such as data: are on none."""
        return bool(re.match(r"(https?|wss?):", address)) and not address.startswith(self.base)

    async def look(self, name: str, scheme: str, width: int) -> None:
        """Look at one page in one mode."""
        async with self.tab(name, scheme, width) as (page, note):
            await page.goto(self.base + name)
            await page.evaluate(AXE_SCRIPT)
            seen = await page.evaluate("reader.look()")
            for text in seen["problems"]:
                note(text)
            for rule, count, example in seen["violations"]:
                if rule in ALLOWED:
                    self.allowed[rule] += count
                else:
                    note(f"axe {rule}, {count} elements, such as {example}")
            self.links[self.folder / name] |= set(seen["links"])
            self.anchors[self.folder / name] |= set(seen["ids"])

    async def search(self, words: str) -> None:
        """Type words into the search page: a page that holds them must be among the results."""
        async with self.tab("search.html") as (page, note):
            await page.goto(self.base + "search.html")
            field = page.locator("input[name=q]:visible").first
            await field.fill(words)
            await field.press("Enter")
            await page.wait_for_function("document.querySelector('.search-summary')?.innerText")
            found = await page.evaluate("[...document.querySelectorAll('#search-results li a')].map(a => a.pathname)")
            if not any(words.lower().replace("-", " ") in plain_text(self.folder / path.lstrip("/")) for path in found):
                note(f"search for '{words}' lists no page with these words, among {len(set(found))}")

    async def find_table(self) -> None:
        """With Tab and Enter alone: from the index to the heading of the benchmark table."""
        name, heading = TABLE
        async with self.tab("index.html") as (page, note):
            await page.goto(self.base)
            await page.wait_for_selector("a[href]")  # after being led to the book's own first page
            if not await tab_to(page, f"a[href*='{name.rpartition('/')[-1]}']", note):
                return note(f"keyboard: no link to {name} within {MOST_KEYS} keys")
            await page.keyboard.press("Enter")
            await page.wait_for_url(f"**/{name}*")
            if heading not in page.url:
                # A label is an anchor in a section; the contents of the page link to the section.
                names = await page.evaluate(f"reader.namesOf({heading!r})")
                if not await tab_to(page, ", ".join(f"a[href='#{name}']" for name in names), note):
                    return note(f"keyboard: no link to {heading} within {MOST_KEYS} keys")
                await page.keyboard.press("Enter")
            if not await holds(page, f"reader.inView(document.getElementById('{heading}'))"):
                note(f"keyboard: the heading {heading} does not come into view")

    async def answer_quiz(self, name: str | None) -> None:
        """With Tab and the blank alone: choose an answer of the first quiz of a page, which must give its reason."""
        if name is None:
            return
        async with self.tab(name) as (page, note):
            await page.goto(self.base + name)
            if not await tab_to(page, ".quiz input[type=radio]", note):
                return note(f"keyboard: no answer of a quiz within {MOST_KEYS} keys")
            await page.keyboard.press("Space")
            if not await holds(page, "document.activeElement.parentElement.querySelector('.why').clientHeight > 0"):
                note("keyboard: an answer of a quiz does not give its reason")

    async def open_solution(self, name: str | None) -> None:
        """With Tab and Enter alone: open the first solution of a page, which must say that it is open."""
        if name is None:
            self.problems["the book", "no page has a solution"] = []
            return
        async with self.tab(name) as (page, note):
            await page.goto(self.base + name)
            if not await tab_to(page, ".solution :is(button[aria-expanded], summary)", note):
                return note(f"keyboard: no button of a solution within {MOST_KEYS} keys")
            if await page.evaluate("reader.isOpen()"):
                note("keyboard: the solution is open from the beginning")
            await page.keyboard.press("Enter")
            if not await holds(page, "reader.isOpen()"):
                note("keyboard: the solution does not open, or does not say so")


async def tab_to(page: Page, selector: str, note: Note) -> bool:
    """Press Tab until the focus is on what the selector names; note a focus that does not show."""
    for _ in range(MOST_KEYS):
        await page.keyboard.press("Tab")
        if await page.evaluate(f"document.activeElement.matches({selector!r})"):
            seen = await page.evaluate("reader.focusShows()")
            if not (seen and await holds(page, "reader.inView(document.activeElement)")):
                note(f"keyboard: the focus does not show on {selector}")
            return True
    return False


async def holds(page: Page, condition: str) -> bool:
    """Whether a condition comes true, after whatever glides there."""
    try:
        await page.wait_for_function(condition, timeout=5_000)
    except Error:
        return False
    return True


def where(modes: list[str]) -> str:
    """Name the modes in which a problem shows, unless it shows in all of them or has none."""
    named = dict.fromkeys(modes)
    return f" ({', '.join(named)})" if 0 < len(named) < len(MODES) else ""


@functools.cache
def plain_text(path: Path) -> str:
    """Words of an article in small letters, one blank between them: what a search should find."""
    page = BeautifulSoup(path.read_bytes(), "lxml")
    return re.sub(r"[\s-]+", " ", (page.article or page).get_text().lower())


def pages_of(folder: Path) -> list[Path]:
    """The pages that are read, the longest first; not those that only lead to another."""
    pages = [path for path in html_files(folder) if b'http-equiv="refresh"' not in path.read_bytes()[:2000].lower()]
    return sorted(pages, key=lambda path: -path.stat().st_size)


async def check(folder: Path, executable: str) -> tuple[list[str], dict[str, int]]:
    """Return one line for each problem, and how many elements each allowed rule was broken by."""
    pages = pages_of(folder)
    if not pages:
        return [f"{folder.name}: no pages"], {}
    with served(folder) as base:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
            reader = Reader(browser, folder, base)
            names = {path.relative_to(folder).as_posix(): path for path in pages}
            asked = (name for name in sorted(names) if b'class="quiz' in names[name].read_bytes())
            solved = (name for name in sorted(names) if b'class="solution' in names[name].read_bytes())
            await asyncio.gather(
                *(reader.look(name, *mode) for name in names for mode in MODES),
                *(reader.search(words) for words in SEARCHES),
                reader.find_table(),
                reader.open_solution(next(solved, None)),
                reader.answer_quiz(next(asked, None)),
            )
            await browser.close()
    return reader.lines(), reader.allowed


def main() -> int:
    """Print the problems of the folder named on the command line; status 1 where there are any, 2 without a browser."""
    if len(sys.argv) != 2:
        print("usage: python -m tools.check_browser FOLDER", file=sys.stderr)
        return 2
    executable = find_browser()
    if executable is None:
        print(f"browser checks skipped: no Chromium (looked for {', '.join(BROWSERS)})", file=sys.stderr)
        return 2
    start, folder = time.monotonic(), Path(sys.argv[1])
    problems, allowed = asyncio.run(check(folder, executable))
    for rule, count in allowed.items():
        print(f"allowed: axe {rule}, {count} elements: {ALLOWED[rule]}")
    print(*problems, sep="\n", end="\n" if problems else "")
    seconds = time.monotonic() - start
    print(f"{len(pages_of(folder))} pages in {len(MODES)} modes, {len(problems)} problems, {seconds:.0f} s")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
