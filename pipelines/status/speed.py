"""Speed of a run: over the last minutes, overall, and over time. Memory does not grow with the run."""

from collections import deque
from dataclasses import dataclass, field

RECENT_S = 300.0
"""Time over which the present speed is averaged: long enough for many blocks, and shorter than workers usually live."""
MOST_BINS = 240
"""Largest number of bins of a `SpeedHistory`."""


@dataclass
class Speed:
    """Frames and rows per second, overall and over the last minutes. Times are seconds since 1970, in any order."""

    since: float
    """Time when the program began; speeds are averaged from then on at the earliest."""
    window_s: float = RECENT_S
    frames: int = 0
    """Total number of frames."""
    rows: int = 0
    """Total number of rows."""
    until: float = 0.0
    """Time when the latest block was finished."""
    _recent: deque[tuple[float, int, int]] = field(default_factory=deque)

    def add(self, at: float, frames: int, rows: int) -> None:
        """Count a block that was finished at the time ``at``."""
        self.frames += frames
        self.rows += rows
        self.until = max(self.until, at)
        self._recent.append((at, frames, rows))
        while self._recent[0][0] < self.until - self.window_s:
            self._recent.popleft()

    def overall(self, now: float | None = None) -> tuple[float, float] | None:
        """Return the frames and rows per second since the beginning; None before the first block."""
        seconds = max((now or self.until) - self.since, 1e-3)
        return (self.frames / seconds, self.rows / seconds) if self._recent else None

    def recent(self, now: float | None = None) -> tuple[float, float] | None:
        """Return the frames and rows per second over the window that ends ``now``; None before the first block.

        With ``now=None``, the window ends with the latest block.
        """
        if not self._recent:
            return None
        now = now or self.until
        begin = max(self.since, now - self.window_s)
        inside = [item for item in self._recent if item[0] >= begin]
        seconds = max(now - begin, 1e-3)
        return sum(item[1] for item in inside) / seconds, sum(item[2] for item in inside) / seconds


@dataclass
class SpeedHistory:
    """Frames and rows over time, in at most ``MOST_BINS`` bins, whose width grows with the duration of the run."""

    since: float
    bin_s: float = 1.0
    frames: list[int] = field(default_factory=list)
    """Number of frames in each bin."""
    rows: list[int] = field(default_factory=list)
    """Number of rows in each bin."""
    blocks: int = 0
    until: float = 0.0
    """Time when the latest block was finished."""

    def add(self, at: float, frames: int, rows: int) -> None:
        """Count a block that was finished at the time ``at``."""
        self.blocks += 1
        self.until = max(self.until, at)
        number = max(0, int((at - self.since) / self.bin_s))
        while number >= MOST_BINS:
            self.bin_s *= 2
            self.frames, self.rows = _paired(self.frames), _paired(self.rows)
            number //= 2
        missing = number + 1 - len(self.frames)
        self.frames += [0] * missing
        self.rows += [0] * missing
        self.frames[number] += frames
        self.rows[number] += rows

    def rates(self, *, most: int = 60) -> tuple[list[float], list[float], list[float]]:
        """Return the centre of each bin (seconds since the beginning), and its frames and rows per second.

        Neighbouring bins are joined until there are at most ``most`` bins, with three blocks or more on average,
        because a bin shorter than the time between two blocks would show single blocks instead of the speed. The last
        bin ends with the latest block, and is omitted if that makes it too short.
        """
        bin_s, frames, rows = self.bin_s, self.frames, self.rows
        while len(frames) > max(1, min(most, self.blocks // 3)):
            bin_s, frames, rows = bin_s * 2, _paired(frames), _paired(rows)
        last_s = self.until - self.since - (len(frames) - 1) * bin_s
        if len(frames) > 1 and last_s < bin_s / 4:
            frames, rows, last_s = frames[:-1], rows[:-1], bin_s
        starts = [number * bin_s for number in range(len(frames))]
        lengths = [bin_s] * (len(frames) - 1) + [min(max(last_s, 1e-3), bin_s)] * bool(frames)
        return (
            [start + length / 2 for start, length in zip(starts, lengths, strict=True)],
            [value / length for value, length in zip(frames, lengths, strict=True)],
            [value / length for value, length in zip(rows, lengths, strict=True)],
        )


def _paired(values: list[int]) -> list[int]:
    """Return the sums of pairs of neighbours."""
    return [sum(values[start : start + 2]) for start in range(0, len(values), 2)]
