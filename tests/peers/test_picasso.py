"""Picasso reads our HDF5, ThunderSTORM and SMAP files, and we read its HDF5.

Picasso uses square pixels with the first centre at 0, z in nm and frames from 0. It drops rows with a NaN,
with negative x or y, or beyond the width or height in the metadata.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lls_decode.config import PixelSize
from lls_decode.errors import TableError
from lls_decode.export.importing import import_table
from lls_decode.table import read_metadata, read_table

from .conftest import Columns, Peer
from .tables import CASES, FILLED, FLAT, PSF_NM, SIZE, X_NM, Y_NM, assert_same, in_order_of

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1500)]

SIZES = {"x": "Width", "y": "Height"}
PIXEL_NM = 100.0
"""Pixel size that Picasso is given if a file does not state it."""


def known(columns: Columns, *names: str) -> Columns:
    """Return the named columns that have at least one known value."""
    return {name: columns[name] for name in names if np.isfinite(columns[name]).any()}


@pytest.mark.parametrize("name", [*FILLED, FLAT])
def test_picasso_reads_hdf5_files(picasso: Peer, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Picasso drops exactly the rows outside the frame, whose number our warning states."""
    case = CASES[name]
    found, about = picasso.read("picasso_read", "hdf5", case.exported(tmp_path, "picasso"), 0)
    (step,) = about["steps"]
    columns = case.columns
    shift = dict(zip("xy", step["Shift (px)"], strict=True))
    assert (step["Pixelsize"], step["Frames"]) == (X_NM, SIZE["num_frames"])
    assert (step["Height"], shift["y"]) == (int(np.ceil(SIZE["height"] * Y_NM / X_NM)), 0)
    if "geometry" not in case.metadata:
        assert (step["Width"], shift["x"]) == (SIZE["width"], 0)
    expected = {
        "frame": columns["frame"],
        **known(columns, "photons", "bg", "prob", "plane", "volume"),
        **{axis: columns[f"{axis}_nm"] / X_NM + shift[axis] for axis in "xy"},
        **{f"lp{axis}": columns[f"{axis}_sig"] / X_NM for axis in "xy"},
    }
    if name != FLAT:
        expected |= {"z": columns["z_nm"], "lpz": columns["z_sig"], "photons_unc": columns["phot_sig"]}
        expected |= {"sx": PSF_NM[0] / X_NM, "sy": PSF_NM[1] / X_NM, "group": columns["group"]}
    whole = {key: np.broadcast_to(values, len(columns["frame"])) for key, values in expected.items()}
    kept = np.all([(whole[axis] >= 0) & (whole[axis] < step[size]) for axis, size in SIZES.items()], axis=0)
    assert 0.99 < kept.mean() < 1
    assert_same(found, {key: values[kept] for key, values in whole.items()})
    assert f"{np.count_nonzero(~kept)} of {len(kept)} rows lie outside" in caplog.text


@pytest.mark.parametrize("name", CASES)
def test_picasso_reads_thunderstorm_files(picasso: Peer, name: str, tmp_path: Path) -> None:
    """Picasso keeps positions relative to the first pixel's corner, starts frames at 0 and truncates photons."""
    case = CASES[name]
    path = case.exported(tmp_path, "thunderstorm")
    found, _ = picasso.read("picasso_read", "thunderstorm", path, PIXEL_NM)
    columns = case.columns
    expected = {
        "id": np.arange(len(columns["frame"])) + 1,
        "frame": columns["frame"] - columns["frame"].min(),
        "x": (columns["x_nm"] + X_NM / 2) / PIXEL_NM,
        "y": (columns["y_nm"] + Y_NM / 2) / PIXEL_NM,
        "photons": np.trunc(columns["photons"]),
        "bg": np.trunc(columns["bg"]),
        "bkgstd_photon": np.sqrt(columns["bg"]),
        "lpx": case.rms_nm() / PIXEL_NM,
        "lpy": case.rms_nm() / PIXEL_NM,
    }
    if name == FLAT:  # an unknown PSF is written as one pixel
        expected |= dict.fromkeys(("sx", "sy"), np.hypot(X_NM, Y_NM) / np.sqrt(2) / PIXEL_NM)
    else:
        expected |= {"sx": PSF_NM[0] / PIXEL_NM, "sy": PSF_NM[1] / PIXEL_NM}
        expected |= {"z": columns["z_nm"], "uncertainty_z_nm": columns["z_sig"]}
    whole = in_order_of(expected, "id")
    kept = np.all([np.isfinite(values) for values in whole.values()], axis=0) & (whole["x"] >= 0) & (whole["y"] >= 0)
    assert kept.mean() > (0.8 if name == "unknown sigmas" else 0.99)
    assert_same(in_order_of(found, "id"), {name: values[kept] for name, values in whole.items()})


@pytest.mark.parametrize("name", CASES)
def test_picasso_reads_smap_files(picasso: Peer, name: str, tmp_path: Path) -> None:
    """Picasso keeps SMAP's positions, with the first pixel's centre at 1, and starts frames at 0."""
    case = CASES[name]
    found, _ = picasso.read("picasso_read", "smap", case.exported(tmp_path, "smap"), PIXEL_NM)
    columns = case.columns
    expected = {
        "frame": columns["frame"] - columns["frame"].min(),
        "x": (columns["x_nm"] + X_NM) / PIXEL_NM,
        "y": (columns["y_nm"] + Y_NM) / PIXEL_NM,
        **known(columns, "photons", "bg", "prob", "plane", "volume"),
        **{f"{axis}nmerr": columns[f"{axis}_sig"] for axis in "xy"},
        **{f"lp{axis}": case.rms_nm() / PIXEL_NM for axis in "xy"},
        **{"LLrel": columns["prob"] - 1, "channel": 0, "filenumber": 1},
    }
    if name == FLAT:
        expected |= {"sx": 1.0, "sy": 1.0}  # Picasso's default
    else:
        expected |= {"z": columns["z_nm"], "lpz": columns["z_sig"], "znmerr": columns["z_sig"]}
        expected |= {"sx": PSF_NM[0] / PIXEL_NM, "sy": PSF_NM[1] / PIXEL_NM, "photerr": columns["phot_sig"]}
        expected |= {"groupindex": columns["group"].astype(float)}  # float32 in Picasso
    assert_same(in_order_of(found, "photons"), in_order_of(expected, "photons"))


# --- files that Picasso writes ---------------------------------------------------------------------------------------


def picasso_columns() -> Columns:
    """Return random columns in Picasso's units, ordered by frame; one row is at the first pixel's centre."""
    random, num_rows = np.random.default_rng(5), 1000
    columns: dict[str, Any] = {"frame": np.sort(random.integers(0, 5000, num_rows)).astype(np.uint32)}
    for name, limits in {
        "x": (0, 250), "y": (0, 120), "z": (-600, 600), "photons": (50, 9000), "sx": (0.8, 1.5), "sy": (0.8, 1.5),
        "bg": (1, 90), "lpx": (0.01, 0.4), "lpy": (0.01, 0.4), "lpz": (5, 60),
    }.items():  # fmt: skip
        columns[name] = random.uniform(*limits, num_rows).astype(np.float32)
    columns["x"][0] = columns["y"][0] = columns["frame"][0] = 0
    return columns | {"group": random.integers(0, 40, num_rows).astype(np.int32)}


def written(picasso: Peer, kind: str, columns: Columns, out: Path) -> Path:
    info = out.with_name("info.json")
    info.write_text(json.dumps([{"Width": 250, "Height": 120, "Frames": 5000, "Pixelsize": 130.0}]))
    picasso.write("picasso_write", kind, columns, info, out)
    return out


@pytest.mark.parametrize("beside", [True, False], ids=["yaml beside", "metadata inside"])
def test_hdf5_files_that_picasso_wrote_are_imported(picasso: Peer, beside: bool, tmp_path: Path) -> None:
    theirs = picasso_columns()
    path = written(picasso, "hdf5", theirs, tmp_path / "theirs.hdf5")
    if not beside:
        path.with_suffix(".yaml").unlink()
    out = import_table(path, tmp_path / "out.parquet")
    names = ["frame", "x_nm", "y_nm", "z_nm", "photons", "bg", "x_sig", "y_sig", "z_sig", "group", "prob"]
    table = read_table(out, names)[0]
    expected = {
        **{ours: theirs[name] for name, ours in zip(("frame", "photons", "bg", "group"), (
            "frame", "photons", "bg", "group"), strict=True)},
        "x_nm": theirs["x"] * 130.0,
        "y_nm": theirs["y"] * 130.0,
        "z_nm": theirs["z"],
        "x_sig": theirs["lpx"] * 130.0,
        "y_sig": theirs["lpy"] * 130.0,
        "z_sig": theirs["lpz"],
        "prob": 1.0,
    }  # fmt: skip
    found = {name: table[name].to_numpy() for name in names}
    assert_same(in_order_of(found, "photons"), in_order_of(expected, "photons"))
    assert read_metadata(out).pixel_size == PixelSize(x_nm=130.0, y_nm=130.0)


NOT_READ = {
    "thunderstorm": (".csv", "looks like a table of ThunderSTORM"),  # Picasso counts its frames from 0
    "smap": ("_sml.mat", "older than v7"),
}


@pytest.mark.parametrize("kind", NOT_READ)
def test_unsupported_files_that_picasso_wrote_are_refused(picasso: Peer, kind: str, tmp_path: Path) -> None:
    suffix, says = NOT_READ[kind]
    path = written(picasso, kind, picasso_columns(), tmp_path / f"theirs{suffix}")
    with pytest.raises(TableError, match=says):
        import_table(path, tmp_path / "out.parquet", pixel_size=PixelSize(x_nm=130.0, y_nm=130.0))
