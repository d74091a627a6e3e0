"""What is wrong with this machine, in words, and how to mend it."""

from pathlib import Path

from .check import Check
from .folder import examine_folder
from .gpu import examine_gpu
from .installation import examine_installation, examine_models, examine_worker

__all__ = ["Check", "examine", "examine_folder", "examine_gpu"]


def examine(out: Path) -> list[Check]:
    """Look at the machine, the installation, and the folder where results are to lie; takes some seconds.

    Files are written into that folder, or the nearest one above it that exists, and removed again.
    """
    parts = {
        "installation": examine_installation,
        "gpu": examine_gpu,
        "folder": lambda: examine_folder(out),
        "model": examine_models,
        "worker": examine_worker,
    }
    found: list[Check] = []
    for name, part in parts.items():
        try:
            found += part()
        except Exception as error:  # a doctor reports what breaks, whatever it is
            found.append(Check(name, "wrong", f"{type(error).__name__}: {error}"))
    return found
