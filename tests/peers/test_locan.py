"""Files that locan reads and writes. It renames columns, but keeps a file's numbers and origins of coordinates."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lls_decode.export.importing import import_table
from lls_decode.table import read_table
from tests.export.conftest import PIXEL

from .conftest import Columns, Peer
from .tables import CASES, FLAT, PSF_NM, X_NM, Y_NM, Case, assert_same, in_order_of

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1500)]

NM = {"position_x": "nm", "position_y": "nm", "position_z": "nm"}


def read(locan: Peer, kind: str, case: Case, folder: Path) -> Columns:
    """Return the columns that locan loads, after checking that positions are in nm."""
    columns, about = locan.read(
        "locan_read",
        kind,
        case.exported(folder, kind),
    )
    if kind != "csv":
        assert about["units"].items() <= NM.items()
        assert {"position_x", "position_y"} <= set(about["units"])
    return columns


@pytest.mark.parametrize("name", CASES)
def test_locan_reads_smap_files(locan: Peer, name: str, tmp_path: Path) -> None:
    """SMAP puts the first pixel's centre at 1 px and counts frames from 1."""
    case, columns = CASES[name], CASES[name].columns
    expected = {
        "frame": columns["frame"] + 1,
        "position_x": columns["x_nm"] + X_NM,
        "position_y": columns["y_nm"] + Y_NM,
        "uncertainty_x": columns["x_sig"],
        "uncertainty_y": columns["y_sig"],
        "locprecnm": case.rms_nm(),
        "intensity": columns["photons"],
        "local_background": columns["bg"],
        **{name: columns[name] for name in ("prob", "plane", "volume")},
        **{"LLrel": columns["prob"] - 1, "channel": 0, "filenumber": 1},
    }
    if name != FLAT:
        expected |= {"position_z": columns["z_nm"], "uncertainty_z": columns["z_sig"], "locprecznm": columns["z_sig"]}
        expected |= {"PSFxnm": PSF_NM[0], "PSFynm": PSF_NM[1], "photerr": columns["phot_sig"]}
        expected |= {"groupindex": columns["group"]}
    assert_same(read(locan, "smap", case, tmp_path), expected)


@pytest.mark.parametrize("name", CASES)
def test_locan_reads_decode_files(locan: Peer, name: str, tmp_path: Path) -> None:
    """DECODE's x is the row coordinate, the first pixel's centre is 0, and frames count from 0."""
    case, columns = CASES[name], CASES[name].columns
    expected = {
        "frame": columns["frame"],
        "original_index": columns["group"],
        "position_x": columns["y_nm"],
        "position_y": columns["x_nm"],
        "position_z": columns["z_nm"],
        "x_sig": columns["y_sig"],
        "y_sig": columns["x_sig"],
        "z_sig": columns["z_sig"],
        "intensity": columns["photons"],
        "local_background": columns["bg"],
        "prob": columns["prob"],
    }
    expected |= {"phot_sig": columns["phot_sig"]} if name != FLAT else {}
    assert_same(read(locan, "decode", case, tmp_path), expected)


@pytest.mark.parametrize("name", CASES)
def test_locan_reads_smlm_files(locan: Peer, name: str, tmp_path: Path) -> None:
    """The SMLM format defines no origin, so we use our own."""
    case, columns = CASES[name], CASES[name].columns
    expected = {
        "frame": columns["frame"],
        "position_x": columns["x_nm"],
        "position_y": columns["y_nm"],
        "x_precision": columns["x_sig"],
        "y_precision": columns["y_sig"],
        "intensity": columns["photons"],
        "local_background": columns["bg"],
        "prob": columns["prob"],
        "slice": columns["plane"],
        "volume": columns["volume"],
    }
    if name != FLAT:
        expected |= {"position_z": columns["z_nm"], "z_precision": columns["z_sig"], "cluster": columns["group"]}
        expected |= {"intensity_precision": columns["phot_sig"]}
    assert_same(read(locan, "smlm", case, tmp_path), expected)


@pytest.mark.parametrize("name", CASES)
def test_locan_reads_thunderstorm_files(locan: Peer, name: str, tmp_path: Path) -> None:
    """ThunderSTORM puts the first pixel's corner at 0 and counts frames from 1."""
    case, columns = CASES[name], CASES[name].columns
    expected = {
        "original_index": np.arange(len(columns["frame"])) + 1,
        "frame": columns["frame"] + 1,
        "position_x": columns["x_nm"] + X_NM / 2,
        "position_y": columns["y_nm"] + Y_NM / 2,
        "uncertainty_x": case.rms_nm(),  # one value for both axes
        "intensity": columns["photons"],
        "local_background": columns["bg"],
        "local_background_sigma": np.sqrt(columns["bg"]),
    }
    if name == FLAT:
        expected |= {"psf_sigma": np.hypot(X_NM, Y_NM) / np.sqrt(2)}  # an unknown PSF is written as one pixel
    else:
        expected |= {"position_z": columns["z_nm"], "uncertainty_z": columns["z_sig"]}
        expected |= {"psf_sigma_x": PSF_NM[0], "psf_sigma_y": PSF_NM[1]}
    assert_same(read(locan, "thunderstorm", case, tmp_path), expected)


@pytest.mark.parametrize("name", CASES)
def test_locan_reads_csv_files(locan: Peer, name: str, tmp_path: Path) -> None:
    """Locan does not know our column names and keeps them."""
    case = CASES[name]
    assert_same(read(locan, "csv", case, tmp_path), case.columns)


# --- files that locan writes -----------------------------------------------------------------------------------------


def locan_columns() -> dict[str, Any]:
    """Return random columns with locan's names."""
    random, num_rows = np.random.default_rng(7), 1000
    columns: dict[str, Any] = {"frame": random.integers(1, 5000, num_rows).astype(np.int32)}
    for name, limits in {
        "position_x": (60, 26000), "position_y": (60, 26000), "position_z": (-600, 600), "uncertainty_x": (2, 40),
        "uncertainty_z": (2, 90), "intensity": (50, 9000), "local_background": (5, 100),
    }.items():  # fmt: skip
        columns[name] = random.uniform(*limits, num_rows).astype(np.float32)
    return columns


LOCAN_FILES = {
    # suffix, origin of x and y in pixels, first frame, locan's name of each of our sigmas that the file has
    "thunderstorm": (".csv", 0.5, 1, {"x_sig": "uncertainty_x", "y_sig": "uncertainty_x", "z_sig": "uncertainty_z"}),
    "smap-csv": (".csv", 1.0, 1, {}),
    "smlm": (".smlm", 0.0, 0, {"x_sig": "uncertainty_x", "z_sig": "uncertainty_z"}),
}


@pytest.mark.parametrize("kind", LOCAN_FILES)
def test_files_that_locan_wrote_are_imported(locan: Peer, kind: str, tmp_path: Path) -> None:
    suffix, origin_px, first_frame, sigmas = LOCAN_FILES[kind]
    theirs, path = locan_columns(), tmp_path / f"theirs{suffix}"
    locan.write("locan_write", kind, theirs, path)
    expected = {
        "frame": theirs["frame"] - first_frame,
        "x_nm": theirs["position_x"].astype(float) - origin_px * X_NM,
        "y_nm": theirs["position_y"].astype(float) - origin_px * Y_NM,
        "z_nm": theirs["position_z"],
        "photons": theirs["intensity"],
        "bg": theirs["local_background"],
        **{ours: theirs[name] for ours, name in sigmas.items()},
    }
    format = "thunderstorm" if kind == "thunderstorm" else None  # locan does not write the quotes of ThunderSTORM
    out = import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL, format=format)
    table = read_table(out, sorted(expected))[0]
    found = {name: table[name].to_numpy() for name in expected}
    assert_same(in_order_of(found, "photons"), in_order_of(expected, "photons"))
