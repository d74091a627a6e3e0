"""Fixtures that more than one folder of tests needs."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of third-party sample data, which is not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"third-party sample data not found in {SHARED_DATA}")
    return SHARED_DATA
