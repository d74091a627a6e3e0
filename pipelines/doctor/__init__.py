"""Diagnose the machine, the installation and the output folder, and say how to fix each problem."""

from pathlib import Path

from .check import Check
from .folder import examine_folder
from .gpu import examine_gpu
from .installation import examine_installation, examine_models, examine_worker

__all__ = ["Check", "examine", "examine_folder", "examine_gpu"]


def examine(out: Path) -> list[Check]:
    """Examine the machine, the installation, and the folder for results. Takes a few seconds.

    Temporary files are written into that folder, or into its nearest existing parent, and removed again.
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
        except Exception as error:  # any failure is a finding to report
            found.append(Check(name, "wrong", f"{type(error).__name__}: {error}"))
    return found
