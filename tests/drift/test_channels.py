"""Drift of tables with unregistered channels is estimated without mixing up their offset with drift."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lls_decode.drift import correct_drift, estimate_drift
from lls_decode.errors import ConfigError
from lls_decode.table import read_table

from .conftest import SIGMA_NM, Made, binding_sites, sigma_columns, write_rows

VOLUMES, ROWS = 2000, 40_000
OFFSET_NM = np.array([150.0, -200.0, 0.0])


def write_two(path: Path, *, channel_column: bool = True, both_share: float = 1.25) -> Made:
    """Write two channels with an offset, the second of which replaces the first over a share of the time."""
    random = np.random.default_rng(5)
    t = np.linspace(0, 1, VOLUMES)
    drift_V3 = np.stack([80 * np.sin(3 * t), 60 * t, 40 * np.cos(4 * t)], axis=1)
    volume = np.sort(random.integers(0, VOLUMES, ROWS))
    channel = (random.random(ROWS) < 0.5 + (volume / VOLUMES - 0.5) / both_share).astype(int)
    position = binding_sites(ROWS, random, planes=1) + drift_V3[volume] + channel[:, None] * OFFSET_NM
    position += random.standard_normal(position.shape) * np.array(SIGMA_NM)
    columns: dict[str, Any] = dict(zip(("x_nm", "y_nm", "z_nm"), position.T, strict=True))
    columns |= {"volume": volume, "plane": np.zeros(ROWS, dtype=int), **sigma_columns(ROWS)}
    columns |= {"channel": channel} if channel_column else {}
    return Made(write_rows(path, columns, geometry=None, planes=1), drift_V3 - drift_V3.mean(axis=0))


def off(shift_V3: np.ndarray, made: Made) -> float:
    """Return the largest error (nm) after removing a constant."""
    away = shift_V3 - made.drift_V3
    return float(np.abs(away - np.median(away, axis=0)).max())


def test_all_channels_together_give_one_accurate_curve(tmp_path: Path) -> None:
    made = write_two(tmp_path / "t.parquet", both_share=0.15)
    curve = estimate_drift(made.path)
    assert len(curve.shift_nm) == VOLUMES
    assert off(curve.shift_nm, made) < 25
    mixed = write_two(tmp_path / "mixed.parquet", channel_column=False, both_share=0.15)
    assert off(estimate_drift(mixed.path).shift_nm, mixed) > 50  # here the offset looks like drift


def test_the_drift_of_one_channel_corrects_all_channels(tmp_path: Path) -> None:
    made = write_two(tmp_path / "t.parquet")
    found = correct_drift(made.path, out=tmp_path / "corrected.parquet", channel=0)
    assert found.benefit.verdict == "better"
    assert off(found.curve.shift_nm, made) < 40
    before, after = (read_table(path)[0] for path in (made.path, tmp_path / "corrected.parquet"))
    assert after.schema.equals(before.schema)
    moved = before["x_nm"].to_numpy() - after["x_nm"].to_numpy()
    np.testing.assert_allclose(moved, found.curve.shift_nm[before["volume"].to_numpy(), 0], atol=0.01)


def test_drift_from_fiducials_needs_a_channel(tmp_path: Path) -> None:
    made = write_two(tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="a bead is not at the same place in each"):
        estimate_drift(made.path, method="fiducials")
    one = write_two(tmp_path / "one.parquet", channel_column=False)
    with pytest.raises(ConfigError, match="no column 'channel', so channel 1 cannot be selected"):
        estimate_drift(one.path, channel=1)
