"""Signals that ask a program to stop, as an exception: whatever is open is closed in order, and the work can go on.

SIGTERM is what batch systems, ``kill`` and machines that shut down send; SIGUSR1 is what SLURM can be asked to send
some time before a job's wall time (``--signal=USR1@120``). Windows has neither: there it is Ctrl-Break, which is also
sent when the console window is closed.
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
        """130 for Ctrl-C, else 143."""
        return EXIT_INTERRUPTED if self.name == "SIGINT" else EXIT_TERMINATED


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first signal into `Interrupted`; further ones are passed over while everything is closed.

    Inside of another ``interruptible()``, and outside of the main thread, it changes nothing.
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
    """Raise `Interrupted` again where its first raising was lost.

    Python passes over what is raised in a destructor or in a callback of the garbage collector, and a signal may come
    while one runs. Loops that take long call this in each round; it is not for code that closes something.
    """
    stop = signal.getsignal(signal.SIGTERM)
    if isinstance(stop, _Stop) and stop.asked is not None and threading.current_thread() is threading.main_thread():
        raise Interrupted(stop.asked)


def _shield_resource_tracker() -> None:
    """Start the process in which Python notes what workers share with SIGUSR1 ignored, as it ignores the others.

    A signal to all processes of a job would end it, and its successor complains of what it does not know.
    """
    if BATCH_SIGNAL is None:  # Windows has no such process
        return
    before = signal.signal(BATCH_SIGNAL, signal.SIG_IGN)
    try:
        resource_tracker.ensure_running()
    finally:
        signal.signal(BATCH_SIGNAL, before)


class _Stop:
    """Signal handler that raises once."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """Number of the first signal."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = number
            raise Interrupted(number)
