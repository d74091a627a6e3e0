"""HTML elements for reports.

All functions return `markupsafe.Markup`. Plain strings that are inserted into it or joined with it are escaped.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from lls_decode import __version__

_STYLE = Markup("""
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
""")

_POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'"
)
"""Content security policy of the page: a browser runs no scripts and fetches nothing."""
_LINES = Markup("\n")


def page(title: str, parts: Iterable[str]) -> Markup:
    """Return a whole document."""
    return Markup(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="generator" content="lls_decode {version}">\n'
        '<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    ).format(version=__version__, policy=_POLICY, title=title, style=_STYLE, body=_LINES.join(parts))


def heading(text: str) -> Markup:
    """Return the main heading of the page."""
    return Markup("<h1>{}</h1>").format(text)


def verdict(text: str, *, good: bool) -> Markup:
    """Return a highlighted paragraph with the outcome of the run."""
    return Markup('<p class="verdict{}">{}</p>').format("" if good else " bad", text)


def section(title: str, parts: Iterable[str]) -> Markup:
    """Return a section with a heading."""
    return Markup("<section>\n<h2>{}</h2>\n{}\n</section>").format(title, _LINES.join(parts))


def words(text: str) -> Markup:
    """Return a paragraph."""
    return Markup("<p>{}</p>").format(text)


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Return a list of names and values."""
    rows = (Markup("<dt>{}</dt><dd>{}</dd>").format(name, str(value)) for name, value in pairs)
    return Markup("<dl>\n{}\n</dl>").format(_LINES.join(rows))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, of_words: bool = False) -> Markup:
    """Return a table; numbers are aligned to the right, and words (``of_words``) to the left."""
    return Markup(
        '<div class="wide"><table{style}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    ).format(
        style=Markup(' class="words"') if of_words else "",
        head=Markup().join(Markup("<th>{}</th>").format(name) for name in columns),
        body=_LINES.join(Markup("<tr>{}</tr>").format(_cells(row)) for row in rows),
    )


def picture(image: bytes, caption: str, *, dark: bool = False) -> Markup:
    """Return a PNG or JPEG, embedded in the document, with a caption."""
    return Markup(
        '<figure{style}><img src="data:image/{kind};base64,{data}" alt="{caption}"><figcaption>{caption}</figcaption>'
        "</figure>"
    ).format(
        style=Markup(' class="dark"') if dark else "",
        kind="png" if image.startswith(b"\x89PNG") else "jpeg",
        data=base64.b64encode(image).decode(),
        caption=caption,
    )


def grid(parts: Iterable[str]) -> Markup:
    """Return elements side by side where the page is wide enough."""
    return Markup('<div class="grid">\n{}\n</div>').format(_LINES.join(parts))


def code(text: str) -> Markup:
    """Return a block of code to copy."""
    return Markup("<pre><code>{}</code></pre>").format(text)


def folded(title: str, part: str) -> Markup:
    """Return long content that is collapsed until it is clicked."""
    return Markup("<details><summary>{}</summary>{}</details>").format(title, part)


def _cells(row: Sequence[object]) -> Markup:
    return Markup().join(Markup("<td>{}</td>").format(str(cell)) for cell in row)
