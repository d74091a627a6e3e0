"""The definitions of containers name files that exist, install the pinned versions, and agree with each other."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = ROOT / "cluster" / "apptainer" / "lls_decode.def"
CONTAINERFILE = ROOT / "cluster" / "container" / "Containerfile"


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


def instructions(name: str) -> list[str]:
    """Return the arguments of an instruction of the Containerfile, with continued lines joined."""
    lines = CONTAINERFILE.read_text().replace("\\\n", " ").splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")]


def test_the_containerfile_copies_the_same_files() -> None:
    copied = {}
    for line in instructions("COPY"):
        *sources, target = line.split()
        copied |= {source: f"{target}{source}" if target.endswith("/") else target for source in sources}
    assert copied == dict(line.split() for line in section("files"))


def test_the_containerfile_runs_the_same_commands() -> None:
    (commands,) = instructions("RUN")
    steps = [" ".join(step.split()) for step in commands.split(";")]
    assert steps[:2] == ["set -eu", section("post")[0]]
    assert steps[2:-1] == section("post")[1:]
    assert steps[-1] == section("test")[0].removeprefix("/opt/lls-decode/bin/")


def test_the_containerfile_sets_the_same_environment() -> None:
    (line,) = instructions("ENV")
    exported = [item.removeprefix("export ") for item in section("environment") if item.startswith("export ")]
    assert line.split() == exported
    assert instructions("FROM") == ["docker.io/library/" + DEFINITION.read_text().splitlines()[1].partition(": ")[2]]
