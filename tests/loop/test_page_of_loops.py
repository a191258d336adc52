"""docs/closed-loop.md: its blocks run, and what they train learns."""

import re

import pages


def test_the_page_runs_and_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pages.run_page(pages.ROOT / "docs" / "closed-loop.md", tmp_path)
    before, after = map(
        float, re.search(r"return (\S+) at first, (\S+) in the end", capsys.readouterr().out).groups()
    )
    assert after > before / 3  # returns are below 0
    assert after > -1.5
