"""Disks without free space, for tests of what a full disk does."""

import os
from pathlib import Path


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Write a file that takes all space except ``leave`` bytes, and return the file."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            os.truncate(ballast, ballast.stat().st_size - leave)
    return ballast
