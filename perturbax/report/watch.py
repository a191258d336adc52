"""The report of runs while they go on: a page on this machine alone, made anew when there is something new.

The server listens on the loopback address, answers GET and HEAD for the page and its version and nothing
else, and refuses requests that name another host, as those of a page elsewhere would (DNS rebinding).
"""

import contextlib
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import cast

from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.report.document import SECURITY, document

ADDRESS = "127.0.0.1"
FILES = ("config.json", "metrics.jsonl", "result.json", "predictions.npz")
IDLE_SHARE = 8.0  # how many times as long as drawing the page took it is not drawn again
PATIENCE = 6.0  # seconds that the last page waits for a reader who has looked so lately
HEADERS = {
    "Content-Security-Policy": f"{SECURITY}; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class WatchedPage:
    """The page of some runs as they are now.

    Arguments:
        places: run folders, and folders that hold run folders; they need not be there yet.
    """

    def __init__(self, places: Sequence[Path]):
        self.places = places
        self._lock = threading.Lock()
        self._state = ""  # of the files that the page was drawn from
        self._html = b""
        self._not_before = 0.0  # when it may be drawn again
        self._drawn = 0
        self.last_asked = -float("inf")  # when somebody asked for the page or its version
        self.last_sent = -1  # the newest page that somebody has got

    def version(self) -> int:
        """Return the number of the page as it is now; drawn anew where files have changed."""
        with self._lock:
            self.last_asked = time.monotonic()
            self._draw()
            return self._drawn

    def html(self) -> bytes:
        """Return the page."""
        with self._lock:
            self.last_asked = time.monotonic()
            self._draw()
            self.last_sent = self._drawn
            return self._html

    def finish(self) -> None:
        """Draw the last page, and wait a little for who is looking to get it."""
        if time.monotonic() - self.last_asked > PATIENCE:
            return
        with self._lock:
            self._not_before = 0.0
            self._draw()
        end = time.monotonic() + PATIENCE
        while self.last_sent < self._drawn and time.monotonic() < end:
            time.sleep(0.05)

    def _draw(self) -> None:
        """Draw the page if files have changed, but not all the time."""
        began = time.monotonic()
        folders = self._folders()
        state = _state_of(folders)
        if self._html and (state == self._state or began < self._not_before):
            return
        html = _page_of(folders, self.places, self._drawn + 1)
        self._html, self._state, self._drawn = html.encode(), state, self._drawn + 1
        self._not_before = time.monotonic() + IDLE_SHARE * (time.monotonic() - began)

    def _folders(self) -> list[Path]:
        """Return the run folders that are there."""
        from perturbax.report.read import run_folders

        with contextlib.suppress(ArgumentError):
            return run_folders([place for place in self.places if place.exists()])
        return []


def _state_of(folders: Sequence[Path]) -> str:
    """Return a text that changes when files of run folders do."""
    seen = hashlib.sha256()
    for path in (folder / name for folder in folders for name in FILES):
        with contextlib.suppress(OSError):
            found = path.stat()
            seen.update(f"{path} {found.st_mtime_ns} {found.st_size}\n".encode())
    return seen.hexdigest()


def _page_of(folders: Sequence[Path], places: Sequence[Path], version: int) -> str:
    """Return the page of run folders; one that says so where there is nothing to show yet."""
    from perturbax.report.compare import sections
    from perturbax.report.page import page
    from perturbax.report.read import read_runs

    at = time.strftime("%H:%M:%S")
    try:
        runs = read_runs(folders) if folders else []
        ended = sum(run.status != "running" for run in runs)
        if runs:
            said = f"Watched: {ended} of {len(runs)} runs have ended; state of {at}."
            return page(sections(runs), folders, Path("report.html"), (version, said))
        words = f"No run in {', '.join(map(str, places))} has begun: programs are compiled first."
    except PerturbaxError as error:
        words = f"The runs cannot be read: {error}"
    said = f"Watched; state of {at}."
    return document("report", "Runs that are watched", f"<p>{escape(words)}</p>", live=(version, said))


class _Server(http.server.ThreadingHTTPServer):
    """The server of one page, at a port that is free."""

    daemon_threads = True

    def __init__(self, page: WatchedPage):
        self.page = page
        super().__init__((ADDRESS, 0), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers for one page."""

    timeout = 10
    server_version = "perturbax"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with the page or its version."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer as GET does, without the content."""
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        """Send what was asked for, or why not."""
        server = cast(_Server, self.server)
        port, page = server.server_port, server.page
        if self.headers.get_all("Host") not in ([f"{ADDRESS}:{port}"], [f"localhost:{port}"]):
            self.send_error(403, "this page is for this machine alone")
        elif self.path == "/":
            self._send(page.html(), "text/html", with_body)
        elif self.path == "/version":
            self._send(str(page.version()).encode(), "text/plain", with_body)
        else:
            self.send_error(404)

    def _send(self, content: bytes, kind: str, with_body: bool) -> None:
        """Send content with its headers."""
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal of the run."""


@contextlib.contextmanager
def watched(places: Sequence[Path]) -> Iterator[str]:
    """Serve the report of runs on this machine while the block runs, and a moment longer for its last page.

    Arguments:
        places: run folders, and folders that hold run folders; they need not be there yet.

    Yields the address of the page. Raises StoreError where no port can be opened.
    """
    page = WatchedPage(places)
    try:
        server = _Server(page)
    except OSError as error:
        raise StoreError(f"no port of {ADDRESS} can be opened to watch runs: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://{ADDRESS}:{server.server_port}/"
        page.finish()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
