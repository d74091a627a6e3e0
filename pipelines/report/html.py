"""The few pieces of HTML that a report is made of; everything is escaped here, and nowhere else."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from lls_decode import __version__

_STYLE = """
:root { --ink: #1c2126; --dim: #5d6770; --line: #d9dee3; --good: #1d7a46; --bad: #b3261e; --soft: #f4f6f8; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: #fff;
  max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line);
  break-after: avoid; }
p { margin: .4rem 0; max-width: 46rem; }
.verdict { border-left: .35rem solid var(--good); background: var(--soft); padding: .6rem .9rem; font-size: 1.05rem;
  max-width: none; }
.verdict.bad { border-color: var(--bad); }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .15rem 1rem; margin: .5rem 0; }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { text-align: right; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: 500; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem; }
figure { margin: .5rem 0; max-width: 34rem; break-inside: avoid; }
figure.dark { max-width: none; }
img { display: block; max-width: 100%; height: auto; }
.dark img { background: #000; width: 100%; max-height: 46rem; object-fit: contain; }
figcaption { color: var(--dim); font-size: .88rem; margin-top: .2rem; }
pre { background: var(--soft); padding: .7rem .9rem; font-size: .85rem; line-height: 1.4; white-space: pre-wrap;
  overflow-wrap: anywhere; }
details summary { cursor: pointer; color: var(--dim); margin: .4rem 0; }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } .dark img { max-height: 18cm; }
  .grid { grid-template-columns: 1fr 1fr; } }
@page { margin: 15mm; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="lls_decode {__version__}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """The title on the page."""
    return f"<h1>{escape(text)}</h1>"


def verdict(text: str, *, good: bool) -> str:
    """The sentence that somebody in a hurry reads."""
    return f'<p class="verdict{"" if good else " bad"}">{escape(text)}</p>'


def section(title: str, parts: Iterable[str]) -> str:
    """A heading and what belongs to it."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def words(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values."""
    return (
        "<dl>\n"
        + "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs)
        + "\n</dl>"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, of_words: bool = False) -> str:
    """Rows below the names of their columns; numbers to the right, words to the left."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    style = ' class="words"' if of_words else ""
    return f'<div class="wide"><table{style}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def picture(image: bytes, caption: str, *, dark: bool = False) -> str:
    """A PNG or JPEG, inside the document, with what it shows."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    style = ' class="dark"' if dark else ""
    text = escape(caption)
    return f'<figure{style}><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def grid(parts: Iterable[str]) -> str:
    """Side by side where there is room."""
    return '<div class="grid">\n' + "\n".join(parts) + "\n</div>"


def code(text: str) -> str:
    """What is to be copied."""
    return f"<pre><code>{escape(text)}</code></pre>"


def folded(title: str, part: str) -> str:
    """Something long that opens when it is clicked."""
    return f"<details><summary>{escape(title)}</summary>{part}</details>"
