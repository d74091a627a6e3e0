"""The reference pages that a script writes agree with the program."""

import re
from pathlib import Path
from typing import Any

import pytest

from lls_decode.config import Config, MovieConfig, RunConfig, TrainingConfig
from lls_decode.molecules import MOLECULE_COLUMNS
from lls_decode.table import COLUMNS

from .scripts import DOCS, load_script

reference_pages = load_script("reference_pages")

CONFIGURATION = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")


def test_pages_agree_with_the_program() -> None:
    for path, text in reference_pages.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is stale; run python docs/reference_pages.py."


def test_check_passes_for_the_committed_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference_pages.main(["--check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_check_names_a_stale_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check exits with status 1 and writes nothing; writing makes the check pass."""
    page = tmp_path / "configuration.md"
    page.write_text("stale")
    monkeypatch.setattr(reference_pages, "HERE", tmp_path)
    monkeypatch.setattr(reference_pages, "pages", lambda: {page: "fresh"})
    assert reference_pages.main(["--check"]) == 1
    assert "configuration.md differs from the program; run python docs/reference_pages.py." in capsys.readouterr().err
    assert page.read_text() == "stale"
    assert reference_pages.main([]) == 0
    assert page.read_text() == "fresh"
    assert reference_pages.main(["--check"]) == 0


def models_of(model: type[Config]) -> set[type[Config]]:
    """Return a model and all models inside it."""
    inner = {item for info in model.model_fields.values() for item in reference_pages.inner_models(info)}
    return {model}.union(*(models_of(item) for item in inner))


@pytest.mark.parametrize("model", [RunConfig, TrainingConfig, MovieConfig, *reference_pages.KINDS.values()])
def test_every_key_is_on_the_configuration_page(model: type[Config]) -> None:
    """A row begins with the key, or with a path that ends with it."""
    keys = re.findall(r"^\| `([^`]+)` \|", CONFIGURATION, re.MULTILINE)
    found = {key.rpartition(".")[2] for key in keys}
    for part in models_of(model):
        assert set(part.model_fields) <= found, part


@pytest.mark.parametrize(
    "row",
    [
        r"\| `input\.planes_per_volume` \| whole number ≥ 1 or `null` \| `null` \|",
        r"\| `simulation\.emitters\.density_per_um2` \| number > 0 \| \*\*required\*\* \| 1/µm² \|",
        r"\| `variance_adu2` \| number or text \| \*\*required\*\* \| counts² \|",
        r"\| `network\.context` \| `none` or `time` or `plane` \| `time` \|",
        r"\| `memory_per_cpu_gib` \| number > 0 or `null` \| `null` \| GiB \|",
        r"\| `worker` \| section \| `cpus: 4`, `memory_gib: 16` \|",
    ],
)
def test_row_shows_type_default_and_unit(row: str) -> None:
    assert re.search(row, CONFIGURATION)


def test_links_of_the_configuration_page_lead_to_its_headings() -> None:
    headings = re.findall(r"^#+ (.*)$", CONFIGURATION, re.MULTILINE)
    links = re.findall(r"\]\(#([^)]+)\)", CONFIGURATION)
    assert links
    assert set(links) <= {reference_pages.slug(heading) for heading in headings}
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize(("name", "columns"), [("localizations", COLUMNS), ("molecules", MOLECULE_COLUMNS)])
def test_every_column_is_on_the_page_about_formats(name: str, columns: Any) -> None:
    """Each column has one row, with its type, unit and meaning."""
    text = (DOCS / "reference" / "formats.md").read_text(encoding="utf-8")
    (body,) = [found["body"] for found in reference_pages.GENERATED.finditer(text) if found["name"] == name]
    for column in columns:
        assert body.count(f"| `{column.name}` | {column.type} |") == 1
        assert column.unit in body
        assert column.description in body
