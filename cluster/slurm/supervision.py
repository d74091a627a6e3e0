"""Keep a fixed number of worker jobs in the queue by replacing lost jobs, and log why jobs wait.

SLURM itself requeues jobs that lost their node or were preempted, and jobs requeue themselves before their wall time.
This module replaces the others: jobs that were cancelled, ran out of memory, could not be requeued, or failed.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lls_decode.errors import SiteError

LOOK_S = 5.0
"""Interval in seconds between two looks at the queue."""
MISSING_S = 15.0
"""Time in seconds after which a job that is missing from the queue is lost; requeued jobs are missing for a moment."""
MOST_DELAY_S = 1800.0
SAY_S = 300.0
"""Interval in seconds at which the same message about waiting jobs is repeated."""

logger = logging.getLogger(__name__)


@dataclass
class Shortage:
    """Decision of when to replace lost jobs, and how many.

    Each round of new jobs that brings no new worker doubles the time until the next round. Otherwise jobs that cannot
    start, e.g. because of a broken environment, would flood the queue.
    """

    wanted: int
    missing_s: float = MISSING_S
    _since: float | None = field(default=None, init=False)
    _delay_s: float = field(default=0.0, init=False)
    _not_before: float = field(default=0.0, init=False)
    _workers_seen: int = field(default=0, init=False)

    def count(self, jobs: int, workers_seen: int, now: float) -> int:
        """Return the number of jobs to submit now.

        ``jobs`` is the number of jobs in the queue, ``workers_seen`` the number of workers that have ever connected.
        """
        if workers_seen > self._workers_seen:
            self._workers_seen, self._delay_s, self._not_before = workers_seen, 0.0, min(self._not_before, now)
        if jobs >= self.wanted:
            self._since = None
            return 0
        if self._since is None:
            self._since = now
        if now - self._since < self.missing_s or now < self._not_before:
            return 0
        self._since = None
        self._delay_s = min(MOST_DELAY_S, 2 * self._delay_s or 2 * self.missing_s)
        self._not_before = now + self._delay_s
        return self.wanted - jobs


class Speaker:
    """Logger that does not repeat the same message within a time interval."""

    def __init__(self, every_s: float = SAY_S) -> None:
        self._every_s = every_s
        self._said: dict[str, float] = {}

    def say(self, words: str) -> None:
        """Log a message, unless it was logged recently."""
        now = time.monotonic()
        if now - self._said.get(words, -self._every_s) >= self._every_s:
            self._said[words] = now
            logger.info("%s", words)


@contextmanager
def supervise(look: Callable[[float], None]) -> Iterator[None]:
    """Call ``look`` with the current time every few seconds in a thread, until the context ends."""
    stop, speaker = threading.Event(), Speaker()

    def run() -> None:
        while not stop.wait(LOOK_S):
            try:
                look(time.monotonic())
            except SiteError as error:  # SLURM does not answer: the state of the jobs is unknown, so do nothing
                speaker.say(f"worker jobs cannot be supervised at the moment: {error}")
            except Exception:
                logger.exception("a check of the worker jobs has failed; supervision continues")

    thread = threading.Thread(target=run, name="supervisor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)
