"""The frame of every page: one HTML file with its style sheet inside, nothing to download."""

from html import escape

from perturbax.report.css import CSS


def document(kind: str, title: str, main: str) -> str:
    """Return a page. kind: the words above the title; main: HTML, escaped already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f'<header><p class="eyebrow">perturbax {escape(kind)}</p><h1>{escape(title)}</h1></header>\n'
        f"{main}\n</main>\n</body>\n</html>\n"
    )
