"""The last step of the scripts that write pages: write a page anew, or only check that it is up to date."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def wants_check(description: str | None, arguments: Sequence[str] | None) -> bool:
    """Parse the command line of a script, which has the option ``--check`` only."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Write nothing; exit with status 1 when a page is stale.")
    return bool(parser.parse_args(arguments).check)


def refill(path: Path, text: str, *, name: Path | str, stale: str, check: bool) -> int:
    """Write a page unless it holds this text already; with ``check``, only say that it is ``stale``.

    Returns
    -------
    int
        Exit status of the script: 1 if a page is stale and was not written.
    """
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{name} {stale}", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    print(f"{name}: written")
    return 0
