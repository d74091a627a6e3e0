"""Our plugin in napari, without a screen: points and pictures open and lie at the same place."""

import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.molecules import Gate, link
from lls_decode.pictures.render_pyramid import render_pyramid
from lls_decode.table import read_table
from tests.export.conftest import GEOMETRY, PLANES, random_columns, write_table

from .conftest import Peer

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parents[2]
ROWS = 4000
"""Number of rows that napari shows without thinning."""


@pytest.fixture(scope="module")
def plugin(napari: Peer) -> Peer:
    """Install lls_decode into napari's environment without dependencies, because the plugin does not need torch."""
    command = [napari.python, "-m", "pip", "--quiet", "install", "--no-deps", "--force-reinstall", ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"lls_decode cannot be installed beside napari: {done.stderr.strip().splitlines()[-1]}")
    return napari


@pytest.mark.parametrize("place", ["sample", "camera"])
def test_points_lie_in_the_pixels_that_count_them(plugin: Peer, place: str, tmp_path: Path) -> None:
    geometry = GEOMETRY if place == "sample" else None
    columns = random_columns(ROWS)
    table = write_table(tmp_path / "localizations.parquet", columns, geometry=geometry)
    render_pyramid(table, tmp_path / "flat.zarr", mode="histogram", pixel_nm=170)
    render_pyramid(table, tmp_path / "deep.zarr", mode="histogram", pixel_nm=410, z_pixel_nm=230)
    found, about = plugin.read("napari_open", table, tmp_path / "flat.zarr", tmp_path / "deep.zarr")
    layers, rows = about["layers"], read_table(table)[0]
    assert [layer["kind"] for layer in layers] == ["Points", "Image", "Image"]
    assert [layer["axes"] for layer in layers] == [["z", "y", "x"], ["y", "x"], ["z", "y", "x"]]
    assert all(unit == "nanometer" for layer in layers for unit in layer["units"])
    suffix = "s_nm" if geometry else "_nm"
    for number, axis in enumerate("zyx"):
        np.testing.assert_array_equal(found["0_data"][:, number], rows[f"{axis}{suffix}"].to_numpy())
    for name in rows.column_names:
        np.testing.assert_array_equal(found[f"0_{name}"], rows[name].to_numpy(), err_msg=name)
    depth = np.argsort(found["0_data"][:, 0])
    shallow, deep = found["0_colour"][depth[: ROWS // 20]].mean(0), found["0_colour"][depth[-ROWS // 20 :]].mean(0)
    assert shallow[2] > shallow[0]  # low z is blue ...
    assert deep[0] > deep[2]  # ... and high z red, as in pictures
    assert layers[0]["metadata"]["coordinates"] == place
    for number in (1, 2):
        counts, level = found[f"{number}_counts"], found[f"{number}_level"]
        assert level.sum() == counts.sum() == ROWS
        # rounding decides in which pixel a point on an edge is counted
        assert np.abs(counts - level).sum() <= 2
        assert np.count_nonzero(level) > ROWS / 3


def test_molecules_open_as_points(plugin: Peer, tmp_path: Path) -> None:
    table = write_table(tmp_path / "localizations.parquet", random_columns(500), geometry=GEOMETRY)
    made = link(table, out=tmp_path / "linked", gate=Gate())
    found, about = plugin.read("napari_open", made.molecules)
    assert about["layers"][0]["metadata"]["kind"] == "molecules"
    rows = read_table(made.molecules)[0]
    np.testing.assert_array_equal(found["0_num_frames"], rows["num_frames"].to_numpy())
    np.testing.assert_array_equal(found["0_data"][:, 2], rows["xs_nm"].to_numpy())


def test_a_large_two_dimensional_table_is_thinned(plugin: Peer, tmp_path: Path) -> None:
    columns = random_columns(600_000)
    columns["z_nm"], columns["z_sig"] = np.full(600_000, np.nan), np.full(600_000, np.nan)
    table = write_table(tmp_path / "movie.parquet", columns)
    found, about = plugin.read("napari_open", table)
    (layer,) = about["layers"]
    assert layer["axes"] == ["y", "x"]
    assert layer["name"] == "movie (500,000 of 600,000)"
    assert layer["metadata"]["rows"] == 600_000
    assert len(found["0_data"]) == 500_000
    assert len(np.unique(found["0_frame"] % PLANES)) == PLANES


def test_tables_of_other_programs_are_declined(plugin: Peer, tmp_path: Path) -> None:
    pq.write_table(pa.table({"frame": [0, 1], "x_nm": [1.0, 2.0], "y_nm": [1.0, 2.0]}), tmp_path / "theirs.parquet")
    _, about = plugin.read("napari_open", tmp_path / "theirs.parquet")
    assert "error" in about["layers"][0]
