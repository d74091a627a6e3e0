"""Recent speed and history of speed: they agree with closed forms and use bounded memory."""

import pytest

from lls_decode.pipelines.status.speed import MOST_BINS, Speed, SpeedHistory

RATES = {
    "one block": ([(10.0, 50, 500)], 300.0, (5.0, 50.0)),
    "steady": ([(float(t), 10, 20) for t in range(1, 1001)], 100.0, (10.1, 20.2)),
    "slower now": ([(float(t), 10, 20) for t in range(1, 1001)] + [(1100.0, 10, 20)], 99.0, (10 / 99, 20 / 99)),
    "out of order": ([(20.0, 10, 20), (10.0, 10, 20)], 300.0, (1.0, 2.0)),
}


@pytest.mark.parametrize(("blocks", "window_s", "expected"), RATES.values(), ids=RATES.keys())
def test_recent_speed_uses_the_last_blocks_only(
    blocks: list[tuple[float, int, int]], window_s: float, expected: tuple[float, float]
) -> None:
    speed = Speed(0.0, window_s)
    assert speed.recent() is None
    for at, frames, rows in blocks:
        speed.add(at, frames, rows)
    assert speed.recent() == pytest.approx(expected)
    assert speed.overall() == pytest.approx((speed.frames / speed.until, speed.rows / speed.until))
    assert speed.recent(speed.until + window_s + 1) == (0.0, 0.0)


@pytest.mark.parametrize("seconds", [1, 59, 1000, 300_000])
def test_history_counts_every_frame_in_a_limited_number_of_bins(seconds: int) -> None:
    history = SpeedHistory(100.0)
    for second in range(1, seconds + 1, max(1, seconds // 5000)):
        history.add(100.0 + second, 7, 11)
    assert len(history.frames) <= MOST_BINS
    assert sum(history.frames) == 7 * history.blocks
    assert sum(history.rows) == 11 * history.blocks


def test_history_of_a_steady_run_is_flat() -> None:
    """A block of 20 frames takes half a second during the first hour, and a second during the second hour."""
    history = SpeedHistory(0.0)
    for step in range(7200):
        history.add((step + 1) / 2, 20, 60)
    for step in range(3600):
        history.add(3600.0 + step + 1, 20, 60)
    middles, frames, rows = history.rates()
    assert 20 < len(middles) <= 60
    assert frames[1:-2:2] == pytest.approx([40 if t < 3600 else 20 for t in middles[1:-2:2]], rel=0.05)
    assert rows == pytest.approx([3 * value for value in frames])


def test_history_of_a_few_blocks_has_a_single_point() -> None:
    history = SpeedHistory(0.0)
    assert history.rates() == ([], [], [])
    for at in (10.0, 20.0, 30.0):
        history.add(at, 5, 5)
    assert history.rates() == ([15.0], [0.5], [0.5])
