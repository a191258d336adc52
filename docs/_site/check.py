"""Check of the built site: every link within it leads somewhere, and no page loads anything from elsewhere.

python docs/_site/check.py docs/_build/html
"""

import re
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
NOT_LOADED = {
    "canonical",
    "author",
    "index",
    "search",
    "next",
    "prev",
    "contents",
}  # kinds of <link> for readers
FETCHED = re.compile(r"""(?:url\(|@import\s*)["']?\s*(?:https?:)?//[^)"']+""")


class Page(HTMLParser):
    """The links of a page, what it loads, and the places in it that links can name.

    Attributes:
        links: targets of `<a>`.
        loads: what is loaded with the page.
        places: values of `id` and `name`.
    """

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names or loads."""
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        kind = values.get("rel", "")
        if tag in LOADS and values.get(LOADS[tag]) and kind not in NOT_LOADED:
            self.loads.append(values[LOADS[tag]])


def faults_of(site: Path) -> list[str]:
    """Return one line for each link that leads nowhere, and each thing that a page fetches from elsewhere."""
    pages = {file.resolve(): Page(file.read_text()) for file in sorted(site.rglob("*.html"))}
    found: dict[str, list[str]] = defaultdict(list)
    for file, page in pages.items():
        name = file.relative_to(site.resolve()).as_posix()
        for target in page.loads:
            if urlsplit(target).netloc:
                found[name].append(f"loads {target} from elsewhere")
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not there.exists():
                found[name].append(f"links to {target}, which is not there")
            elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].places:
                found[name].append(f"links to {target}, a place that is not on that page")
    for style in sorted(site.rglob("*.css")):
        found[style.name] += [f"fetches {match}" for match in FETCHED.findall(style.read_text())]
    return [f"{name}: {fault}" for name, faults in found.items() for fault in dict.fromkeys(faults)]


def main() -> int:
    """Print the faults of a site; the exit status is 1 where there are some."""
    site = Path(sys.argv[1])
    faults = faults_of(site)
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"{len(list(site.rglob('*.html')))} pages, {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
