"""docs/scale.md against the code: what several devices share, of every rule."""

import re
from types import SimpleNamespace

import pages

import perturbax as px
from perturbax.learning.shares import ROWS, SAMPLES, Share

SCALE = (pages.ROOT / "docs" / "scale.md").read_text()
TWO = SimpleNamespace(size=2)


def rows_of_table(head):
    """The rows of the table with this head, each as its cells."""
    lines = SCALE[SCALE.index(head) :].splitlines()[2:]
    table = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_what_devices_share_of_every_rule_is_what_the_code_shares():
    written = {}
    for rules, rows, samples in rows_of_table("| rules | rows | else |"):
        for name in re.findall("`(.*?)`", rules):
            assert name not in written
            written[name] = rows == "one mean per update", samples in ("samples", "members")
    assert written == {
        name: (ROWS in of.__dict__.get("shares", ()), SAMPLES in of.__dict__.get("shares", ()))
        for name, of in px.RULES.items()
    }


def test_noise_that_the_clean_pass_has_is_not_split_by_samples():
    for ambient in (0.0, 0.1):
        rule = px.rules.Node(samples=4, ambient=ambient)
        assert (rule.of_share(Share(SAMPLES, TWO)) is None) == bool(ambient)
        assert rule.of_share(Share(ROWS, TWO)) is not None
