"""Pages and reports show values of run folders and tables as text only, never as markup or scripts."""

import ast
import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from markupsafe import Markup

from lls_decode.pipelines.journal.record import RunRecord
from lls_decode.pipelines.report import html, sections
from lls_decode.pipelines.report.writing import write_report
from lls_decode.pipelines.status.reader import read_status
from lls_decode.pipelines.watch import page as watch_page
from lls_decode.pipelines.watch.watcher import Watcher
from tests.pipelines.run_folders import make_folder
from tests.pipelines.watch.test_watch_page import served

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for name in ("report", "watch") for path in (ROOT / "pipelines" / name).glob("*.py"))
HARM = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"
_TAG = re.compile(r"</?[a-z]|&nbsp;")


def _tags(page: str) -> list[str]:
    """Return the names of all elements of a page, and of all attributes that hold scripts."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend([tag, *(name for name, _ in attrs if name.startswith("on"))])

    Parser().feed(page)
    return found


def _unescaped(source: str) -> list[str]:
    """Return the lines of a module that insert a value into markup without escaping it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.JoinedStr):
            constant = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            bad = _TAG.search(constant) is not None
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            sides = [side for side in (node.left, node.right) if isinstance(side, ast.Constant)]
            bad = any(isinstance(side.value, str) and _TAG.search(side.value) is not None for side in sides)
        elif name in ("Markup", "markupsafe.Markup"):
            assert isinstance(node, ast.Call)
            bad = not all(isinstance(argument, ast.Constant) for argument in node.args)
        elif name.endswith(".format") and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            text = node.func.value
            bad = isinstance(text, ast.Constant) and _TAG.search(str(text.value)) is not None
        elif isinstance(node, ast.Assign):
            bad = any(ast.unparse(target).endswith(".text") for target in node.targets) and (
                ast.unparse(node.value) != "str(Markup.escape(text))"
            )
        elif name == "Div":
            assert isinstance(node, ast.Call)
            bad = any(keyword.arg == "text" for keyword in node.keywords)
        else:
            bad = name in ("HTMLTemplateFormatter", "CustomJS") or name.endswith("unescape")
        if bad:
            found.append(f"{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:80]}")
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_value_is_put_into_markup_unescaped(path: Path) -> None:
    assert _unescaped(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "f'<b>{name}</b>'",
        "'<b>' + name",
        "'<b>%s</b>' % name",
        "'<b>{}</b>'.format(name)",
        "Markup(name)",
        "Markup(f'{name}')",
        "head.text = name",
        "Div(text=name)",
        "HTMLTemplateFormatter(template='x')",
    ],
)
def test_unescaped_values_are_found(source: str) -> None:
    assert _unescaped(source)


@pytest.mark.parametrize(
    "piece",
    [
        html.heading(HARM),
        html.verdict(HARM, good=False),
        html.section(HARM, [HARM, html.words(HARM)]),
        html.facts([(HARM, HARM)]),
        html.table([HARM], [[HARM]]),
        html.picture(b"", HARM),
        html.grid([HARM]),
        html.code(HARM),
        html.folded(HARM, HARM),
        html.page(HARM, [HARM]),
    ],
)
def test_building_blocks_of_a_report_escape_their_content(piece: Markup) -> None:
    found = _tags(piece)
    assert "script" not in found
    assert "onerror" not in found
    assert found.count("img") <= ("figure" in found)


def _harmed(value: Any) -> Any:
    """Return the same values with harmful markup appended to every text."""
    if isinstance(value, dict):
        return {key: _harmed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_harmed(item) for item in value]
    return value + HARM if isinstance(value, str) else value


@pytest.fixture
def harmed(tmp_path: Path) -> Path:
    """Return a run folder in which every free text of the record, the ledger and the events holds harmful markup."""
    folder = make_folder(tmp_path / "out <img src=x onerror=alert(3)>")
    folder.done(0, 10, worker=f"tcp://{HARM}", reason=HARM)
    folder.failed(1, 20, reason=HARM)
    folder.event("BlockRetried", 25, block=1, block_id=HARM, attempts=1, reason=HARM, alone=False)
    folder.event("RunInterrupted", 30, signal=HARM)
    folder.event("Merged", 31, path=HARM, rows=1, missing_blocks=0, merge_s=1.0)
    record = folder.out / "run.json"
    values = json.loads(record.read_text())
    kept = {"config": values["config"], "context": values["context"], "layout": values["layout"]}
    free = {**_harmed(values), **kept, "notes": [HARM], "software": {HARM: HARM}, "samples": [HARM]}
    free["identity"] = {HARM: HARM}
    free["table_metadata"] = {
        **values["table_metadata"],
        "run_digest": HARM,
        "model": {HARM: HARM},
        "input": {"identity": HARM},
    }
    RunRecord.from_dict(free, source="the test")
    record.write_text(json.dumps(free))
    ledger = folder.out / "ledger.jsonl"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    ledger.write_text("".join(
        json.dumps({key: value if key == "event" else _harmed(value) for key, value in line.items()}) + "\n"
        for line in lines
    ))  # fmt: skip
    return folder.out


def test_report_of_a_harmful_folder_is_escaped(harmed: Path) -> None:
    pytest.importorskip("matplotlib", reason="a report needs matplotlib")
    text = write_report(harmed).read_text()
    found = _tags(text)
    assert "alert(1)" in text
    assert not {"script", "onerror"} & set(found)
    assert found.count("img") == text.count('<img src="data:image/')


def test_page_of_a_harmful_folder_is_escaped(harmed: Path) -> None:
    watcher = Watcher(harmed)
    status = watcher.take_snapshot().status
    assert status == read_status(harmed) or status.dataset.endswith(HARM)
    for text in (watch_page._head(status), watch_page._waiting(str(harmed)), watch_page._title_text(HARM, HARM)):
        assert "alert(" in text
        assert not {"script", "onerror", "img"} & set(_tags(text))
    assert "alert" in sections.verdict(status, HARM)


def test_report_has_a_strict_content_security_policy() -> None:
    text = html.page("a", [html.words("b")])
    style = re.search(r"<style>(.*)</style>", text, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    assert policy is not None
    assert f"style-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy[1].replace("&#39;", "'")
    assert "unsafe" not in policy[1]


def test_page_allows_only_its_own_scripts(harmed: Path) -> None:
    with served(harmed) as link, urlopen(link, timeout=60) as answer:
        text, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
    scripts = policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe-inline" not in scripts
    assert "unsafe-eval" not in scripts
    nonce = re.search(r"'nonce-([^']+)'", scripts)
    assert nonce is not None
    assert text.count("<script") == text.count(f'<script nonce="{nonce[1]}"') > 0
    assert "alert(" not in text
