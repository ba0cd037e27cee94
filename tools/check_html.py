"""Check a built book as a reader without network or eyes would: `python -m tools.check_html FOLDER`.

Links and anchors inside the book resolve, images exist and say what they show, nothing is loaded from another host.
Links for reading (`<a href>`) may lead anywhere: they load nothing. What a script fetches while it runs is not seen.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

# What a browser fetches by itself. A <link> only where its rel makes it: canonical, next, search ... are for reading.
LOADERS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src",
           "track": "src", "embed": "src", "object": "data", "link": "href"}  # fmt: skip
LOADING_RELS = {"stylesheet", "icon", "apple-touch-icon", "preload", "modulepreload", "prefetch", "preconnect",
                "dns-prefetch", "manifest"}  # fmt: skip
CSS_ADDRESS = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""", re.IGNORECASE)
CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# "3f2a9c…", "plot.png", "_images/plot.svg": what is there when nobody wrote a text.
NO_TEXT = re.compile(r"[0-9a-f]{16,}|\S+\.(?:png|svg|jpe?g|gif|webp)", re.IGNORECASE)


def check(folder: Path) -> list[str]:
    """Return one line for each problem of the pages and style sheets under `folder`; an empty list is a clean book."""
    pages = {path.resolve(): BeautifulSoup(path.read_bytes(), "lxml") for path in html_files(folder)}
    if not pages:
        return [f"{folder.name}: no pages"]
    folder = folder.resolve()
    anchors = {path: {tag.get("id") or tag.get("name") for tag in page.select("[id], a[name]")}
               for path, page in pages.items()}  # fmt: skip
    found = [(path, text) for path, page in pages.items() for text in page_problems(folder, path, page, anchors)]
    for path in sorted(folder.rglob("*.css")):
        found += [(path, text) for text in css_problems(path.read_text(encoding="utf-8", errors="replace"))]
    return [f"{path.relative_to(folder)}: {text}" for path, text in found]


def html_files(folder: Path) -> list[Path]:
    """The pages of a book, without the fragments that its themes keep among their static files."""
    return [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.relative_to(folder).parts]


def page_problems(folder: Path, path: Path, page: BeautifulSoup, anchors: dict[Path, set]) -> Iterator[str]:
    """Problems of one page; `anchors` has the ids of every page."""
    for link in page.select("a[href]"):
        yield from broken(folder, path, link["href"], anchors)
    for image in page.find_all("img"):
        yield from undescribed(image)
    for tag in page.find_all(list(LOADERS)):
        address = tag.get(LOADERS[tag.name])
        if address is None or (tag.name == "link" and not LOADING_RELS & {rel.lower() for rel in tag.get("rel", [])}):
            continue
        if external(address):
            yield f"loads from another host: {address}"
        yield from broken(folder, path, address, anchors)
    for css in [tag.get_text() for tag in page.find_all("style")] + [tag["style"] for tag in page.select("[style]")]:
        yield from css_problems(css)


def broken(folder: Path, page: Path, address: str, anchors: dict[Path, set]) -> Iterator[str]:
    """Say what is wrong with an address inside the book; nothing for an address outside it."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return
    goal = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if goal.is_dir():
        goal /= "index.html"
    # An absolute path breaks as soon as the book lives in a sub-folder of its host.
    if parts.path.startswith("/") or not goal.is_relative_to(folder) or not goal.is_file():
        yield f"broken link: {address}"
    elif parts.fragment and goal in anchors and unquote(parts.fragment) not in anchors[goal]:
        yield f"broken anchor: {address}"


def undescribed(image: Tag) -> Iterator[str]:
    """Say where an image has no words for those who cannot see it; a generated file name is not words."""
    source, text = image.get("src", "")[:80], image.get("alt", "").strip()
    if not text and not ("alt" in image.attrs and decorative(image)):
        yield f"image without alt text: {source}"
    elif text and (NO_TEXT.fullmatch(text) or text == Path(urlsplit(source).path).stem):
        yield f"alt text is a file name: {text}"


def decorative(image: Tag) -> bool:
    """Whether an empty alt text is right: the image is marked as saying nothing."""
    return image.get("role") == "presentation" or image.get("aria-hidden") == "true"


def css_problems(css: str) -> Iterator[str]:
    """Addresses on other hosts that a style sheet, style element or style attribute loads."""
    for match in CSS_ADDRESS.finditer(CSS_COMMENT.sub("", css)):
        address = (match[1] or match[2]).strip()
        if external(address):
            yield f"style loads from another host: {address}"


def external(address: str) -> bool:
    """Whether a browser would ask another host for this address."""
    return bool(urlsplit(address.strip()).netloc)


def main() -> int:
    """Print the problems of the folder named on the command line; status 1 where there are any."""
    if len(sys.argv) != 2:
        print("usage: python -m tools.check_html FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    problems = check(folder)
    print(*problems, f"{len(html_files(folder))} pages, {len(problems)} problems", sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
