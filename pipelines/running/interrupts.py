"""Turn signals that ask the program to stop into an exception, so that a run ends cleanly and can be resumed.

Batch systems, ``kill`` and machines that shut down send SIGTERM. SLURM can send SIGUSR1 some time before the wall time
of a job (``--signal=USR1@120``). Windows has neither signal; there it is Ctrl-Break, which is also sent when the
console window is closed.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

from lls_decode.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from lls_decode.system import BATCH_SIGNAL, STOP_SIGNALS

SIGNALS = STOP_SIGNALS


class Interrupted(BaseException):
    """A signal asked the program to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name

    @property
    def exit_status(self) -> int:
        """Exit status of the program: 130 for Ctrl-C, else 143."""
        return EXIT_INTERRUPTED if self.name == "SIGINT" else EXIT_TERMINATED


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` at the first signal. Further signals are ignored while the program closes everything.

    Inside of another ``interruptible()``, and outside of the main thread, this has no effect.
    """
    inside = isinstance(signal.getsignal(signal.SIGTERM), _Stop)
    if inside or threading.current_thread() is not threading.main_thread():
        yield
        return
    _shield_resource_tracker()
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_if_asked() -> None:
    """Raise `Interrupted` again if a signal has arrived, in case the first exception was lost.

    Python ignores exceptions that are raised in a destructor or in a callback of the garbage collector, and a signal
    may arrive during one. Long loops therefore call this in each iteration. Clean-up code must not call it.
    """
    stop = signal.getsignal(signal.SIGTERM)
    if isinstance(stop, _Stop) and stop.asked is not None and threading.current_thread() is threading.main_thread():
        raise Interrupted(stop.asked)


def _shield_resource_tracker() -> None:
    """Start Python's resource tracker process with SIGUSR1 ignored; it already ignores the other signals.

    Otherwise a signal to all processes of a job ends the tracker, and the tracker that replaces it prints warnings
    about resources that it does not know.
    """
    if BATCH_SIGNAL is None:  # Windows has no such process
        return
    before = signal.signal(BATCH_SIGNAL, signal.SIG_IGN)
    try:
        resource_tracker.ensure_running()
    finally:
        signal.signal(BATCH_SIGNAL, before)


class _Stop:
    """Signal handler that raises `Interrupted` at the first signal only."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """Number of the first signal; None before any signal."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = number
            raise Interrupted(number)
