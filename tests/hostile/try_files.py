"""Run the cases of some groups in this process, and print status, seconds, peak memory and messages of each as JSON."""

import contextlib
import io
import json
import logging
import resource
import sys
import time
import traceback
from pathlib import Path

from lls_decode.pipelines.cli import main
from tests.hostile.files import CASES


def attempt(arguments: list[str]) -> tuple[int, str]:
    """Run a command line and return its exit status and its output on stderr."""
    words = io.StringIO()
    with contextlib.redirect_stderr(words), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as end:
            return int(end.code or 0), words.getvalue()
        except BaseException:  # a user would see a traceback
            return -1, words.getvalue() + traceback.format_exc()
    return 0, words.getvalue()


def peak_kb() -> int:
    """Return the peak memory of this process; ``ru_maxrss`` also counts memory of the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def try_all(group: str, folder: Path) -> None:
    """Run the cases of a group and print the outcome of each."""
    for number, (name, case) in enumerate(CASES[group].items()):
        place = folder / f"{group}-{number}"
        place.mkdir()
        arguments = case(place)
        started = time.perf_counter()
        status, words = attempt(arguments)
        seconds = time.perf_counter() - started
        peak = peak_kb()
        print(
            json.dumps(
                {"group": group, "name": name, "status": status, "seconds": seconds, "peak_kb": peak, "words": words}
            ),
            flush=True,
        )


if __name__ == "__main__":
    logging.disable()
    for chosen in sys.argv[2:]:
        try_all(chosen, Path(sys.argv[1]))
