"""Fixtures that more than one folder of tests needs."""

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Networks in tests are tiny: a second thread costs more than it gives, on a busy machine a hundred times as much.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of third-party sample data, which is not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"third-party sample data not found in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was: a command that a test calls logs to a stream that is closed after the test."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:  # not those of pytest, which are of other kinds
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory, with options of mount (``size=64k``, ``ro``), and gives its folder."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            reason = done.stderr.strip() if done.returncode else ""
        except OSError as error:
            reason = str(error)
        if reason:
            pytest.skip(f"a file system cannot be mounted here: {reason}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
