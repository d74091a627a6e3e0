"""Exported annotations, read by Neuroglancer's own Python package, which uses TensorStore."""

from pathlib import Path

import numpy as np
import pytest

from .conftest import Peer
from .tables import CASES, FLAT

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("name", CASES)
def test_neuroglancer_reads_every_point(
    neuroglancer: Peer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lls_decode.export.formats.neuroglancer.levels.CELL_POINTS", 100)
    case = CASES[name]
    folder = case.exported(tmp_path, "neuroglancer")
    found, about = neuroglancer.read("neuroglancer_read", folder)
    order = np.argsort(found["id"])
    np.testing.assert_array_equal(found["id"][order], np.arange(len(case.columns["frame"])))
    axes = "xy" if name == FLAT else "xyz"
    place = {axis: case.columns[f"{axis}_nm"].astype(np.float32) for axis in axes}
    for axis, values in place.items():
        np.testing.assert_allclose(found[f"at_{axis}"][order], values, rtol=2e-7, atol=1e-3)
    assert about["units"] == ["m"] * len(axes)
    assert about["scales"] == [1e-9] * len(axes)
    properties = set(found) - {"id"} - {f"at_{axis}" for axis in axes}
    expected = {"photons", "bg", "x_sig", "y_sig", "prob", "frame"}
    assert properties >= expected | (
        set() if name == FLAT else {"z_nm", "z_sig", "phot_sig", "plane", "volume", "group"}
    )
    for each in properties:
        np.testing.assert_allclose(found[each][order], case.columns[each], rtol=3e-7, atol=1e-3, err_msg=each)
    assert len(about["levels"]) > 3
    assert about["shapes"][0] == [1] * len(axes)
    assert max(about["limits"]) < 200
    box = np.all([found[f"at_{axis}"] <= limit for axis, limit in zip(axes, about["middle"], strict=True)], axis=0)
    assert about["in_box"] == sorted(found["id"][box].tolist())
    assert 0 < len(about["in_box"]) < len(order)
