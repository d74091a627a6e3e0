"""Progress log of a training, one line per minute: step, losses and remaining time."""

import logging
import time
from collections.abc import Callable

from lls_decode.config import TrainingConfig
from lls_decode.training.loss import Losses
from lls_decode.training.schedule import share_done

_EVERY_S = 60.0

logger = logging.getLogger(__name__)


class Heartbeat:
    """Logger that writes one line about the steps of the last minute."""

    def __init__(self, config: TrainingConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._since = clock()
        self._sum: Losses | None = None  # stays on the device, because reading it waits for the step
        self._steps = 0
        self._before: float | None = None

    def beat(self, step: int, seconds: float, losses: Losses) -> None:
        """Count a step, and log a line once a minute; ``seconds`` is the time that the training has run."""
        done = share_done(self._config, step, seconds)
        if self._before is None:
            self._before = done
            self._since = self._clock()
        self._sum = losses if self._sum is None else self._sum + losses
        self._steps += 1
        now = self._clock()
        if now - self._since < _EVERY_S:
            return
        sums = (self._sum.count, self._sum.localization, self._sum.background)
        count, localization, background = (value.item() / self._steps for value in sums)
        left_s = (1 - done) * (now - self._since) / max(done - self._before, 1e-9)
        logger.info(
            "step %d, %.0f %% done, %s left; loss %.3f (count %.3f, localization %.3f, background %.4f), %.2f s a step",
            step,
            100 * done,
            in_words(left_s),
            count + localization + background,
            count,
            localization,
            background,
            (now - self._since) / self._steps,
        )
        self._since, self._before = now, done
        self._sum, self._steps = None, 0


def in_words(seconds: float) -> str:
    """Return a duration as text, e.g. 40 s, 12 min or 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
