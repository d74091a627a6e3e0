"""Rendered OME-Zarr is read by ome-zarr, by ngff-zarr, which also validates it, and by napari's reader."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.pictures.render_pyramid import render_pyramid
from lls_decode.pictures.view import View
from tests.export.conftest import write_pieces

from .conftest import Columns, Peer

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1500)]

LIMITS_NM = {"z": (100, 700), "y": (500, 5000), "x": (1000, 9000)}
"""Limits of the picture along each axis; no axis starts at zero."""
PICTURE_NM = {"y": 10, "x": 10}
VOLUME_NM = {"z": 40, "y": 50, "x": 50}


def columns() -> Columns:
    random = np.random.default_rng(3)
    places = {f"{axis}_nm": random.uniform(low, high, 5000) for axis, (low, high) in LIMITS_NM.items()}
    return {name: values.astype(np.float32) for name, values in places.items()}


def expected_levels(
    found: Columns, pixel_nm: dict[str, int]
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Return the histogram and its coarser levels, means of 2 pixels along each axis with zeros beyond the end."""
    places = np.stack([found[f"{axis}_nm"] for axis in pixel_nm], axis=1).astype(float)
    edges = [np.arange(low, high + 1, pixel_nm[axis]) for axis, (low, high) in LIMITS_NM.items() if axis in pixel_nm]
    levels, axes = [np.histogramdd(places, bins=edges)[0]], range(len(pixel_nm))
    for _ in range(4):
        level = np.pad(levels[-1], [(0, size % 2) for size in levels[-1].shape])
        for axis in axes:
            level = (
                np.take(level, range(0, level.shape[axis], 2), axis)
                + np.take(level, range(1, level.shape[axis], 2), axis)
            ) / 2
        levels.append(level)
    return levels


@pytest.mark.parametrize("pixel_nm", [PICTURE_NM, VOLUME_NM], ids=["picture", "volume"])
@pytest.mark.parametrize("program", ["ngff-zarr", "ome-zarr", "napari"])
def test_other_programs_read_pixels_and_their_positions(
    zarr_readers: Peer, program: str, pixel_nm: dict[str, int], tmp_path: Path
) -> None:
    rows, path = columns(), tmp_path / "picture.zarr"
    sigmas = {f"{axis}_sig": np.full(5000, 20.0) for axis in "xyz"}
    view = View(x_nm=LIMITS_NM["x"], y_nm=LIMITS_NM["y"], slab_nm=LIMITS_NM["z"])
    table = write_pieces(tmp_path / "table.parquet", **rows, **sigmas)
    render_pyramid(
        table, path, view=view, mode="histogram", pixel_nm=pixel_nm["x"], z_pixel_nm=pixel_nm.get("z")
    )  # fmt: skip
    found, about = zarr_readers.read("zarr_read", program, path)
    expected = expected_levels(rows, pixel_nm)[: len(found)]
    assert len(found) >= 2
    for number, level in enumerate(expected):
        np.testing.assert_allclose(found[str(number)], level, rtol=1e-6, err_msg=f"level {number}")
    assert about["axes"] == list(pixel_nm)
    assert about["units"] == ["nanometer"] * len(pixel_nm)
    scales = [[size * 2**number for size in pixel_nm.values()] for number in range(len(found))]
    if program == "napari":
        assert about["kind"] == "image"
        assert 0 == about["brightness"][0] < about["brightness"][1] <= expected[0].max()
        assert about["scale"] == scales[0]
        assert about["translation"] == [0] * len(pixel_nm)  # this version uses only the first transformation
    else:
        assert about["scale"] == scales
        edges = [LIMITS_NM[axis][0] for axis in pixel_nm]
        centres = [[edge + size / 2 for edge, size in zip(edges, scale, strict=True)] for scale in scales]
        assert about["translation"] == centres
