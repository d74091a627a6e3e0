"""Files that SMAPpy, SMAP's successor, reads: ``_sml.mat``, and csv files whose columns it guesses by name."""

from pathlib import Path

import numpy as np
import pytest

from .conftest import Peer
from .tables import CASES, FLAT, PSF_NM, SIZE, X_NM, Y_NM, assert_same

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("name", CASES)
def test_smappy_reads_smap_files(smappy: Peer, name: str, tmp_path: Path) -> None:
    """SMAPpy keeps SMAP's positions, with the first pixel's centre at 1, counts frames from 0 and drops filenumber."""
    case, columns = CASES[name], CASES[name].columns
    found, about = smappy.read("smappy_read", "smap", case.exported(tmp_path, "smap"))
    expected = {
        "frame": columns["frame"],
        "x_nm": columns["x_nm"] + X_NM,
        "y_nm": columns["y_nm"] + Y_NM,
        "x_err_nm": columns["x_sig"],
        "y_err_nm": columns["y_sig"],
        "xy_err_nm": case.rms_nm(),
        "photons": columns["photons"],
        "background": columns["bg"],
        **{name: columns[name] for name in ("prob", "plane", "volume")},
        **{"logl_rel": columns["prob"] - 1, "channel": 0},
    }
    if name != FLAT:
        expected |= {"z_nm": columns["z_nm"], "z_err_nm": columns["z_sig"], "znmerr": columns["z_sig"]}
        expected |= {"sigma_nm": PSF_NM[0], "sigma_y_nm": PSF_NM[1], "photons_err": columns["phot_sig"]}
        expected |= {"groupindex": columns["group"].astype(float)}  # float32 in SMAPpy
    assert_same(found, expected)
    assert about["format"] == "SMAP"
    assert about["pixelsize_nm"] == pytest.approx(X_NM)
    assert about["smap"]["numberOfFrames"] == SIZE["num_frames"]


@pytest.mark.parametrize("name", CASES)
def test_smappy_recognizes_some_csv_columns(smappy: Peer, name: str, tmp_path: Path) -> None:
    """SMAPpy recognizes six columns of our csv by name and ignores the others."""
    case, columns = CASES[name], CASES[name].columns
    found, about = smappy.read("smappy_read", "csv", case.exported(tmp_path, "csv"))
    assert about["format"] == "csv"
    expected = {name: columns[name] for name in ("frame", "x_nm", "y_nm", "z_nm", "photons")}
    assert_same(found, {**expected, "background": columns["bg"]})


@pytest.mark.parametrize("name", CASES)
def test_smappy_reads_all_csv_columns_with_a_mapping(smappy: Peer, name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found, _ = smappy.read("smappy_read", "csv-all", case.exported(tmp_path, "csv"))
    assert_same(found, {**case.columns, "group": case.columns["group"].astype(float)})  # float32 in SMAPpy


@pytest.mark.parametrize("name", CASES)
def test_smappy_reads_thunderstorm_files(smappy: Peer, name: str, tmp_path: Path) -> None:
    """SMAPpy keeps the file's positions, with the first pixel's corner at 0, and its frames from 1."""
    case, columns = CASES[name], CASES[name].columns
    found, _ = smappy.read("smappy_read", "csv", case.exported(tmp_path, "thunderstorm"))
    expected = {
        "id": np.arange(len(columns["frame"])) + 1,
        "frame": columns["frame"] + 1,
        "x_nm": columns["x_nm"] + X_NM / 2,
        "y_nm": columns["y_nm"] + Y_NM / 2,
        "xy_err_nm": case.rms_nm(),
        "photons": columns["photons"],
        "background": columns["bg"],
        "background_std": np.sqrt(columns["bg"]),
    }
    if name == FLAT:
        expected |= {"sigma_nm": np.hypot(X_NM, Y_NM) / np.sqrt(2)}  # an unknown PSF is written as one pixel
    else:
        expected |= {"z_nm": columns["z_nm"], "z_err_nm": columns["z_sig"]}
        expected |= {"sigma_nm": PSF_NM[0], "sigma_y_nm": PSF_NM[1]}
    assert_same(found, expected)
