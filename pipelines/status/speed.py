"""How fast a run is: now, and over its whole time. Memory does not grow with the run."""

from collections import deque
from dataclasses import dataclass, field

RECENT_S = 300.0
"""How far back "now" reaches: many blocks, and less than the time in which workers come and go."""
MOST_BINS = 240


@dataclass
class Speed:
    """Frames and rows a second over the last minutes. Times are seconds since 1970, in any order."""

    since: float
    """When the program began: before that there is nothing to divide by."""
    window_s: float = RECENT_S
    frames: int = 0
    """In all, as are rows."""
    rows: int = 0
    until: float = 0.0
    """When the latest block was done."""
    _recent: deque[tuple[float, int, int]] = field(default_factory=deque)

    def add(self, at: float, frames: int, rows: int) -> None:
        """Count a block that was done at a time."""
        self.frames += frames
        self.rows += rows
        self.until = max(self.until, at)
        self._recent.append((at, frames, rows))
        while self._recent[0][0] < self.until - self.window_s:
            self._recent.popleft()

    def overall(self, now: float | None = None) -> tuple[float, float] | None:
        """Frames and rows a second since the beginning; None before the first block."""
        seconds = max((now or self.until) - self.since, 1e-3)
        return (self.frames / seconds, self.rows / seconds) if self._recent else None

    def recent(self, now: float | None = None) -> tuple[float, float] | None:
        """Frames and rows a second over the window that ends now (None: with the latest block)."""
        if not self._recent:
            return None
        now = now or self.until
        begin = max(self.since, now - self.window_s)
        inside = [item for item in self._recent if item[0] >= begin]
        seconds = max(now - begin, 1e-3)
        return sum(item[1] for item in inside) / seconds, sum(item[2] for item in inside) / seconds


@dataclass
class SpeedHistory:
    """Frames and rows by time, in at most ``MOST_BINS`` bins, that become wider as the run becomes longer."""

    since: float
    bin_s: float = 1.0
    frames: list[int] = field(default_factory=list)
    """Of each bin, as are rows."""
    rows: list[int] = field(default_factory=list)
    blocks: int = 0
    until: float = 0.0
    """When the latest block was done."""

    def add(self, at: float, frames: int, rows: int) -> None:
        """Count a block."""
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
        """Middle of each bin (seconds since the beginning), frames and rows a second in it.

        A bin shorter than the time between two blocks would show blocks, not speed: neighbours are joined until there
        are at most ``most``, of three blocks or more. The last bin is as long as it has lasted, and left out
        when that is too short.
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
    """Sums of neighbours."""
    return [sum(values[start : start + 2]) for start in range(0, len(values), 2)]
