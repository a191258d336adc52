"""What the build of the site adds to Sphinx: docstrings as reStructuredText, and the check of its pages."""

import importlib.util

import pages
import pytest


def part(name):
    """A module of docs/_site, which is no package."""
    spec = importlib.util.spec_from_file_location(name, pages.ROOT / "docs" / "_site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("the `x` of y_t", r"the ``x`` of y\_t"),
        ("(`a`, `b c`): |d| *", r"(``a``, ``b c``): \|d\| \*"),
        ("2`k`s", r"2\ ``k``\ s"),
        ("`a`b`c`", r"``a``\ b\ ``c``"),
        ("no code", "no code"),
    ],
)
def test_plain_words_mean_nothing_else(written, shown):
    assert part("docstring_text").escaped(written) == shown


def test_docstrings_have_code_equations_and_arguments():
    text = part("docstring_text").to_rst(
        [
            "Return it.",
            "",
            "    px.learner(rule, loss)",
            "",
            "    y = W x,   t > 0",
            "",
            "Arguments:",
            "    a: one",
            "        more of it.",
            "    b, c: two.",
            "",
            "Raises E.",
        ]
    )
    shown = "\n".join(text)
    assert ".. code-block:: text\n\n   px.learner(rule, loss)\n\n   y = W x,   t > 0\n" in shown
    assert "``a``\n   one more of it.\n" in shown
    assert "``b, c``\n   two.\n" in shown
    assert shown.rstrip().endswith("Raises E.")
    assert part("docstring_text").is_python(["px.learner(rule, loss)"])


FINE = '<p id="here">x</p><a href="#here">a</a><a href="other.html#there">b</a><a href="https://x.org">c</a>'
FAULTS = {
    '<a href="gone.html">x</a>': "links to gone.html, which is not there",
    '<a href="other.html#gone">x</a>': "links to other.html#gone, a place that is not on that page",
    '<a href="#gone">x</a>': "links to #gone, a place that is not on that page",
    '<script src="https://cdn.org/x.js"></script>': "loads https://cdn.org/x.js from elsewhere",
    '<link rel="stylesheet" href="//cdn.org/x.css">': "loads //cdn.org/x.css from elsewhere",
    '<img src="https://x.org/badge.svg">': "loads https://x.org/badge.svg from elsewhere",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_site_are_found(fault, tmp_path):
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1>')
    (tmp_path / "index.html").write_text(FINE)
    (tmp_path / "own.css").write_text("a { background: url(own.svg) }")
    check = part("check")
    assert check.faults_of(tmp_path) == []
    (tmp_path / "index.html").write_text(FINE + fault)
    assert check.faults_of(tmp_path) == [f"index.html: {FAULTS[fault]}"]
    (tmp_path / "index.html").write_text(FINE)
    (tmp_path / "own.css").write_text("@import 'https://fonts.org/x.css';")
    assert len(check.faults_of(tmp_path)) == 1
