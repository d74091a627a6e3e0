"""The definition of the container names files that exist, and installs the pinned versions."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = ROOT / "cluster" / "apptainer" / "lls_decode.def"


def section(name: str) -> list[str]:
    lines = DEFINITION.read_text().split(f"\n%{name}\n")[1].split("\n%")[0].splitlines()
    return [line.strip() for line in lines if line.strip()]


def test_files_of_the_definition_exist() -> None:
    sources = [line.split()[0] for line in section("files")]
    assert {"pyproject.toml", "constraints.txt", "lls_decode", "pipelines", "cluster"} <= set(sources)
    assert [name for name in sources if not (ROOT / name).exists()] == []


def test_versions_are_pinned() -> None:
    installs = [line for line in section("post") if "pip install" in line]
    assert installs
    assert all("-c constraints.txt" in line for line in installs)
