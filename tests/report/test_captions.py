"""Captions of wide tables break at the edge of a narrow screen: text in a span, which the style limits."""

import re
from pathlib import Path

import perturbax.report

SHORT = 40  # characters that fit beside each other on a phone


def test_captions_that_may_be_long_are_limited_to_the_screen():
    for file in Path(perturbax.report.__file__).parent.glob("*.py"):
        for caption in re.findall(r"<caption>(.*?)</caption>", file.read_text()):
            assert caption.startswith("<span>") or ("{" not in caption and len(caption) < SHORT), file.name
