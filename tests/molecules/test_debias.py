"""Sub-pixel bias: a known bias is removed, and unbiased positions stay unchanged."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.evaluate import subpixel_bias
from lls_decode.molecules import debias, link
from lls_decode.molecules.debias import PARTS, equalizing_shift
from lls_decode.table import TableMetadata, read_metadata, read_table, table_writer

from .conftest import PIXEL, STAGE, WriteRows, make_rows

NUM = 200_000
SIZES = {"x": PIXEL.x_nm, "y": PIXEL.y_nm}


def positions(num: int = NUM) -> dict[str, np.ndarray]:
    """Return positions uniform over fifty pixels, with sigmas from 0.05 to 0.5 pixels."""
    random = np.random.default_rng(0)
    rows: dict[str, np.ndarray] = {"frame": np.sort(random.integers(0, 1000, num))}
    for axis, size in SIZES.items():
        rows[f"{axis}_nm"] = random.uniform(-0.5, 49.5, num) * size
        rows[f"{axis}_sig"] = np.exp(random.uniform(np.log(0.05), np.log(0.5), num)) * size
    return rows


def pulled(place_px: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Pull positions towards the centres of pixels; a strength of up to 1 keeps their order."""
    return np.asarray(place_px - strength * np.sin(2 * np.pi * place_px) / (2 * np.pi))


def test_a_known_bias_that_grows_with_sigma_is_removed(write_rows: WriteRows, tmp_path: Path) -> None:
    true, found = positions(), positions()
    for axis, size in SIZES.items():
        sigma_px = true[f"{axis}_sig"] / size
        found[f"{axis}_nm"] = pulled(true[f"{axis}_nm"] / size, 1.6 * sigma_px) * size
    path = write_rows(found)
    made = debias(path, tmp_path / "out.parquet")
    after = read_table(made.path)[0]
    for axis, size in SIZES.items():
        error_before = (found[f"{axis}_nm"] - true[f"{axis}_nm"]) / size
        error_after = (after[f"{axis}_nm"].to_numpy() - true[f"{axis}_nm"]) / size
        assert rms(error_before) > 0.03
        assert rms(error_after) < 0.008  # pixels; limited by the bins of sigma and by counting noise
    before_x, _ = subpixel_bias([found], PIXEL)
    after_x, after_y = subpixel_bias([{name: after[name].to_numpy() for name in ("x_nm", "y_nm")}], PIXEL)
    assert before_x.modulation > 0.2
    assert abs(after_x.modulation) < 0.01
    assert abs(after_y.modulation) < 0.01
    assert made.rms_shift_nm[0] == pytest.approx(rms(found["x_nm"] - true["x_nm"]), rel=0.05)
    for name in ("z_nm", "photons", "x_sig", "frame"):
        assert after[name].equals(read_table(path)[0][name])


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def test_unbiased_positions_are_unchanged(write_rows: WriteRows, tmp_path: Path) -> None:
    path = write_rows(positions())
    made = debias(path, tmp_path / "out.parquet")
    assert made.rms_shift_nm == (0, 0)
    assert read_table(made.path)[0].equals(read_table(path)[0])


def test_without_noise_the_correction_inverts_the_bias() -> None:
    place = (np.arange(400_000) + 0.5) / 400_000 - 0.5
    for strength in (0.1, 0.5, 0.9):
        counts = np.histogram(pulled(place, np.array(strength)), bins=PARTS, range=(-0.5, 0.5))[0]
        edges = np.linspace(-0.5, 0.5, PARTS + 1)
        true = np.linspace(-0.5, 0.5, 100_001)
        inverse = np.interp(edges, pulled(true, np.array(strength)), true)
        shift = equalizing_shift(1000 * counts)  # enough counts to make noise negligible
        np.testing.assert_allclose(edges + shift, inverse, atol=2e-4)


def test_a_bias_to_one_side_is_removed_without_moving_the_mean() -> None:
    place = (np.arange(400_000) + 0.5) / 400_000 - 0.5
    leaning = pulled(place + 0.25, np.array(0.5)) - 0.25
    leaning -= np.floor(leaning + 0.5)
    counts = np.histogram(leaning, bins=PARTS, range=(-0.5, 0.5))[0]
    shift = equalizing_shift(counts)
    moved = leaning + np.interp(leaning, np.linspace(-0.5, 0.5, PARTS + 1), shift)
    assert np.mean(moved - leaning) == pytest.approx(0, abs=1e-4)
    assert np.std(np.histogram(moved - np.floor(moved + 0.5), bins=PARTS, range=(-0.5, 0.5))[0]) < 0.01 * counts.mean()


@pytest.mark.parametrize("axis", ["x", "y"])
def test_sample_coordinates_are_corrected_with_camera_coordinates(
    write_rows: WriteRows, tmp_path: Path, axis: str
) -> None:
    geometry: Geometry = STAGE.replace(propagation_axis=axis)
    found = positions(50_000)
    found["x_nm"] = pulled(found["x_nm"] / PIXEL.x_nm, np.array(0.5)) * PIXEL.x_nm
    found["frame"] = np.sort(np.random.default_rng(1).integers(0, 100, len(found["x_nm"])))
    path = write_rows(found, planes=10, geometry=geometry)
    after = read_table(debias(path, tmp_path / "out.parquet").path)[0]
    expected = geometry.to_sample(
        *(after[f"{name}_nm"].to_numpy().astype(float) for name in "xyz"), after["plane"].to_numpy()
    )
    for name, values in zip("xyz", expected, strict=True):
        np.testing.assert_allclose(after[f"{name}s_nm"].to_numpy(), values, atol=0.01)
    assert rms(after["xs_nm"].to_numpy() - read_table(path)[0]["xs_nm"].to_numpy()) > 1


def test_the_history_records_the_largest_shift(write_rows: WriteRows) -> None:
    found = positions(50_000)
    found["x_nm"] = pulled(found["x_nm"] / PIXEL.x_nm, np.array(0.5)) * PIXEL.x_nm
    path = write_rows(found)
    debias(path, path)
    [step] = read_metadata(path).history
    assert step["step"] == "debias"
    # maximum over ten noisy corrections
    assert step["largest_shift_nm"] == [
        pytest.approx(0.5 / (2 * np.pi) * PIXEL.x_nm, rel=0.25),
        0,
    ]


def test_tables_with_few_or_no_rows_are_accepted(write_rows: WriteRows, tmp_path: Path) -> None:
    for num in (0, 1, 20):
        made = debias(write_rows({"frame": np.arange(num), "y_sig": np.full(num, np.nan)}), tmp_path / "out.parquet")
        assert made.rms_shift_nm[1] < 60
    path = write_rows({"frame": [0], "x_nm": [np.nan]})
    assert np.isnan(pq.read_table(debias(path, tmp_path / "out.parquet").path)["x_nm"].to_pylist()[0])


def test_tables_that_cannot_be_debiased_are_refused(write_rows: WriteRows, tmp_path: Path) -> None:
    made = link(write_rows({"frame": [0, 1]}))
    with pytest.raises(TableError, match="is a table of molecules"):
        debias(made.molecules, tmp_path / "out.parquet")
    with pytest.raises(TableError, match="has been processed by 'link'"):
        debias(made.localizations, tmp_path / "out.parquet")
    bare, rows = tmp_path / "bare.parquet", make_rows({"frame": [0]})
    with table_writer(bare, rows.schema, TableMetadata()) as writer:
        writer.write(rows)
    with pytest.raises(ConfigError, match="have no pixel size"):
        debias(bare, tmp_path / "out.parquet")
    assert debias(bare, tmp_path / "out.parquet", pixel_size=PixelSize(x_nm=100, y_nm=100)).rms_shift_nm == (0, 0)
