"""Fixtures that more than one folder of tests needs."""

import os
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
