"""Keeping a number of worker jobs in the queue, whatever happens to them, and saying why they wait.

SLURM itself requeues jobs that lost their node or were preempted, and jobs put themselves back before their wall time.
What is left are those that were cancelled, ran out of memory, could not be requeued, or failed.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lls_decode.errors import SiteError

LOOK_S = 5.0
"""How often the queue is looked at."""
MISSING_S = 15.0
"""A job that has been in no queue for this long is lost; while it is requeued it may be in none for a moment."""
MOST_DELAY_S = 1800.0
SAY_S = 300.0
"""How often it is said that jobs wait."""

logger = logging.getLogger(__name__)


@dataclass
class Shortage:
    """How many jobs to submit, and when.

    Each round of new jobs that brings no new worker doubles the time until the next one: jobs that cannot start, such
    as those of a broken environment, would fill the queue otherwise.
    """

    wanted: int
    missing_s: float = MISSING_S
    _since: float | None = field(default=None, init=False)
    _delay_s: float = field(default=0.0, init=False)
    _not_before: float = field(default=0.0, init=False)
    _workers_seen: int = field(default=0, init=False)

    def count(self, jobs: int, workers_seen: int, now: float) -> int:
        """Jobs to submit now, when ``jobs`` are in the queue and ``workers_seen`` workers have ever come."""
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
    """Logs a sentence, and the same one not again for a while."""

    def __init__(self, every_s: float = SAY_S) -> None:
        self._every_s = every_s
        self._said: dict[str, float] = {}

    def say(self, words: str) -> None:
        """Log it, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._said.get(words, -self._every_s) >= self._every_s:
            self._said[words] = now
            logger.info("%s", words)


@contextmanager
def supervise(look: Callable[[float], None]) -> Iterator[None]:
    """Call ``look`` with the time, every few seconds, in a thread, until the context ends."""
    stop, speaker = threading.Event(), Speaker()

    def run() -> None:
        while not stop.wait(LOOK_S):
            try:
                look(time.monotonic())
            except SiteError as error:  # SLURM does not answer: then nothing is known, and nothing is decided
                speaker.say(f"worker jobs cannot be looked after at the moment: {error}")
            except Exception:
                logger.exception("the supervision of worker jobs has failed; it goes on")

    thread = threading.Thread(target=run, name="supervisor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)
