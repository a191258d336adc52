"""Lines as wide as the terminal."""

import shutil
import sys
import textwrap
from typing import Any


def broken(text: str, stream: Any = None) -> str:
    """Return a text in lines as wide as the terminal, broken between words; as it is where there is none.

    Arguments:
        text: the text.
        stream: where it is printed; None for standard output.
    """
    if not (stream or sys.stdout).isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 40)
    return textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
