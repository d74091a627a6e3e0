"""Other programs, each installed in its own environment, which read our files and write files for us to read.

`REQUIREMENTS` alone states the tested versions. An environment is kept under ``build/peers`` until
its requirement, or Python, changes. It runs scripts of ``readers/``, which use the program and numpy (and
the pandas that comes with it), but nothing of lls_decode. Only the environment of napari also contains our plugin.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REQUIREMENTS = {
    "picasso": ("picassosr==0.11.3",),
    "locan": ("locan[hdf5]==0.22.0",),
    "smappy": ("smappy-smlm==0.4.1",),
    "napari": (
        "napari[pyqt6]==0.9.2",
        "npe2==0.10.0",
        "pyarrow>=16",
        "pydantic>=2.7",
        "PyYAML>=6",
        "zarr>=3.0,<4",
        "dask>=2024.8",
    ),
    "neuroglancer": ("neuroglancer==2.41.2", "tensorstore==0.1.86"),
    "zarr": ("ome-zarr==0.18.0", "napari-ome-zarr==0.10.0", "ngff-zarr==0.50.0"),
}
ENVIRONMENTS = Path(__file__).resolve().parents[2] / "build" / "peers"
READERS = Path(__file__).parent / "readers"

Columns = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Peer:
    """Another program, installed in its own environment."""

    python: Path
    home: Path
    """Home folder of the program, so that it neither reads nor changes the user's settings."""

    def call(self, script: str, *arguments: object) -> None:
        """Run a script of ``readers/``, and show its output if it fails."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {"HOME": str(self.home), "MPLBACKEND": "Agg", "QT_QPA_PLATFORM": "offscreen"}
        command = [str(self.python), str(READERS / f"{script}.py"), *map(str, arguments)]
        done = subprocess.run(command, env=environment, cwd=self.home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"

    def read(self, script: str, *arguments: object) -> tuple[Columns, dict[str, Any]]:
        """Return the columns of a file as the program reads them, and what the program reports about them."""
        out = self.home / "columns.npz"
        self.call(script, *arguments, out)
        with np.load(out) as file:
            columns = dict(file)
        out.unlink()
        return columns, json.loads(str(columns.pop("about")))

    def write(self, script: str, kind: str, columns: Mapping[str, Any], *arguments: object) -> None:
        """Let the program write columns that have its own names and units."""
        given = self.home / "given.npz"
        np.savez(given, **columns)
        self.call(script, kind, given, *arguments)


def _peer(name: str, factory: pytest.TempPathFactory) -> Peer:
    return Peer(_installed(name), factory.mktemp(name))


def _installed(name: str) -> Path:
    """Return the Python of an environment, created if it is missing or outdated; skip the test if that fails."""
    folder, requirements = ENVIRONMENTS / name, REQUIREMENTS[name]
    python, record = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join([sys.version, *requirements])
    if record.is_file() and record.read_text() == wanted:
        return python
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--retries", "2", *requirements]
    for command in ([sys.executable, "-m", "venv", "--clear", folder], pip):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = next(iter(done.stderr.strip().splitlines()[-1:]), "no reason given")
            pytest.skip(f"{' '.join(requirements)} cannot be installed here: {reason}")
    record.write_text(wanted)
    return python


@pytest.fixture(scope="session")
def picasso(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    return _peer("picasso", tmp_path_factory)


@pytest.fixture(scope="session")
def locan(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    return _peer("locan", tmp_path_factory)


@pytest.fixture(scope="session")
def smappy(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    return _peer("smappy", tmp_path_factory)


@pytest.fixture(scope="session")
def zarr_readers(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    return _peer("zarr", tmp_path_factory)


@pytest.fixture(scope="session")
def napari(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    return _peer("napari", tmp_path_factory)


@pytest.fixture(scope="session")
def neuroglancer(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    return _peer("neuroglancer", tmp_path_factory)
