"""The page of runs that go on: who may ask for what, what it shows, and what a browser makes of it."""

import http.client
import json
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import Browser, needs_browser
from made_runs import make

from perturbax.report import watch, write_report
from perturbax.report.document import SCRIPT, SECURITY
from perturbax.report.watch import WatchedPage, watched


def line(step: int) -> str:
    """Return a line of metrics.jsonl."""
    return json.dumps(
        {"step": step, "updates": step, "forward_passes": step, "seconds": step / 10, "valid_loss": 2 / step}
    )


@contextmanager
def asked(places):
    """Yield a function that asks the page of some places: (path, method, headers) -> (response, content)."""
    with watched(places) as address:
        host, port = re.fullmatch(r"http://(.*):(\d+)/", address).groups()
        assert host == "127.0.0.1"

        def ask(path="/", method="GET", **headers):
            connection = http.client.HTTPConnection(host, int(port), timeout=30)
            connection.putrequest(method, path, skip_host=True)
            for name, value in {"Host": f"{host}:{port}", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            content = response.read().decode()
            connection.close()
            return response, content

        ask.port = int(port)
        yield ask
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(host, int(port), timeout=5).request("GET", "/")


def test_only_this_machine_may_read_the_page_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "PATIENCE", 0.0)
    make(tmp_path, "node")
    with asked([tmp_path]) as ask:
        response, html = ask()
        assert response.status == 200
        assert "<h1>weather: tanh cell, 8 units</h1>" in html
        assert "1 of 1 runs have ended" in html
        assert response.headers["Content-Security-Policy"].startswith(SECURITY)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert ask(Host=f"localhost:{ask.port}")[0].status == 200
        head, nothing = ask(method="HEAD")
        assert (head.status, nothing) == (200, "")
        for host in (
            "evil.example",
            f"evil.example:{ask.port}",
            "127.0.0.1",
            "",
            f"127.0.0.1:{ask.port + 1}",
        ):
            assert ask(Host=host)[0].status == 403
        for path in ("/config.json", "/../config.json", "//etc/passwd", "/%2e%2e/x", "/version/", "/?x"):
            assert ask(path)[0].status == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert ask(method=method)[0].status == 501


def test_the_page_is_made_anew_when_runs_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "IDLE_SHARE", 0.0)
    page = WatchedPage([tmp_path / "runs"])
    assert b"No run in" in page.html()
    assert page.version() == 1
    run = make(tmp_path / "runs", "node", result=None, lines=[], predictions=None)
    assert b"0 of 1 runs have ended" in page.html()
    assert page.version() == 2  # nothing is drawn without a change
    with open(run / "metrics.jsonl", "w") as file:
        file.write(line(1) + "\n" + line(2) + '\n{"step"')
        file.flush()
        assert page.version() == 3
        assert b"data-curves" in page.html()
    (run / "config.json").write_text("{")
    assert b"cannot be read" in page.html()
    monkeypatch.setattr(watch, "IDLE_SHARE", 1e6)
    page._not_before = float("inf")  # drawn just now: the reader waits, the run does not
    make(tmp_path / "runs", "bptt")
    assert page.version() == 4


def test_what_is_hovered_over_is_data_not_code(tmp_path):
    evil = "</script><script>alert(1)</script>'\"&"
    make(tmp_path, "node", name=evil)
    html = write_report([next(tmp_path.iterdir())], tmp_path / "r.html").read_text()
    assert html.count("<script") == 1
    assert html.count("</script") == 1 == SCRIPT.count("</script") + 1
    assert "alert(1)</script>" not in html


@pytest.mark.slow
@needs_browser
def test_a_curve_grows_in_a_browser_while_a_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "IDLE_SHARE", 0.0)
    monkeypatch.setattr(watch, "PATIENCE", 10.0)
    run = make(tmp_path, "node", result=None, lines=[], predictions=None)
    make(tmp_path, "bptt")
    (run / "metrics.jsonl").write_text(line(1) + "\n" + line(2) + "\n")
    curves = "JSON.parse(document.querySelector('[data-curves]').dataset.curves).lines"
    steps = f"{curves}.find(one => one.name == 'node').x.length"
    shown = "document.querySelector('.panel .tip:not([hidden])')"
    with Browser() as browser:
        with watched([tmp_path]) as address:
            browser.go(address)
            assert browser.until(steps) == 2
            path = "document.querySelector('[id^=s1-updates-v0-line] path').getAttribute('d')"
            before = browser.evaluate(path)
            browser.evaluate("document.querySelector('button[data-name=bptt]').click()")
            with open(run / "metrics.jsonl", "a") as file:
                file.write(line(3) + "\n")
            browser.until(f"{steps} == 3")
            assert browser.evaluate(path) != before
            # What was hidden stays hidden, and the pointer reads values of the rest.
            hidden = "getComputedStyle(document.querySelector('[id^=s1-updates-v1-line]')).display"
            assert browser.evaluate(hidden) == "none"
            x, y = browser.evaluate(
                "(() => { const panel = document.querySelector('[data-curves]'); panel.scrollIntoView();"
                "const at = panel.getBoundingClientRect(); return [at.x + at.width / 2, at.y + 60] })()"
            )
            browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
            said = browser.until(f"{shown} && {shown}.textContent")
            assert "node: " in said
            assert "bptt" not in said
            done = {"status": "finished", "test": {"loss": 0.5, "mse": 0.5}, "baselines": {}}
            (run / "result.json").write_text(json.dumps(done))
        browser.until("!!document.querySelector('.live.ended')")
        assert browser.evaluate("document.querySelector('main').textContent.includes('0.500')")


@pytest.fixture(scope="module")
def axe():
    """The accessibility checker axe-core, as npm has it; skips where it cannot be had."""
    npm = shutil.which("npm")
    folder = Path.home() / ".cache" / "perturbax-tests"
    kept = folder / "axe-core-4.10.3.tgz"
    if npm is None:
        pytest.skip("no npm on this machine")
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        got = subprocess.run([npm, "pack", "axe-core@4.10.3", "--silent"], cwd=folder, capture_output=True)
        if got.returncode or not kept.exists():
            pytest.skip("npm does not have axe-core here")
    unpacked = subprocess.run(
        ["tar", "xzOf", str(kept), "package/axe.min.js"], capture_output=True, check=True
    )
    return unpacked.stdout.decode()


@pytest.mark.slow
@needs_browser
def test_a_checker_finds_no_obstacle_on_the_page(axe, tmp_path):
    long = "node:" + ":".join(f"setting{i}=0.001" for i in range(9))
    for rule, name in (("node", long), ("bptt", ""), ("frozen", "")):
        make(tmp_path, rule, name=name)
    make(tmp_path, "node", task="copy", test={"loss": 0.1, "recall": 0.5})
    folders = [p for p in sorted(tmp_path.iterdir()) if p.is_dir()]
    page = write_report(folders, tmp_path / "report.html")
    wrong = "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' ')))"
    with Browser() as browser:
        browser.call("Page.setBypassCSP", enabled=True)
        for width, scheme in ((1300, "light"), (390, "dark")):
            browser.size(width)
            browser.scheme(scheme)
            browser.go(page.as_uri())
            browser.evaluate(f"{axe}; null")
            assert browser.evaluate(wrong) == []
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
