"""Views select and rotate the right rows, and read only the row groups that they need."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lls_decode.errors import ConfigError
from lls_decode.pictures.view import View, ViewedTable
from lls_decode.table import TableMetadata, schema, table_writer
from tests.export.conftest import write_pieces

ROWS = 3000


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    random = np.random.default_rng(1)
    frame = np.sort(random.integers(0, 60, ROWS))
    places = {f"{axis}_nm": random.uniform(-1000, 1000, ROWS).astype(np.float32) for axis in "xyz"}
    sigmas = {f"{axis}_sig": random.uniform(5, 50, ROWS).astype(np.float32) for axis in "xyz"}
    return {"frame": frame, "volume": frame // 10, **places, **sigmas, "prob": random.uniform(0, 1, ROWS)}


def seen(path: Path, view: View) -> dict[str, Any]:
    pieces = list(ViewedTable(path, view).pieces())
    return {axis: np.concatenate([piece.position_nm[axis] for piece in pieces]) for axis in ("x", "y", "z")}  # type: ignore[index]


WHICH: dict[str, tuple[View, Any]] = {
    "everything": (View(), lambda c: c["prob"] >= 0),
    "region": (View(x_nm=(0, 500), y_nm=(-200, 900), z_nm=(-500, 0)), lambda c: (
        (c["x_nm"] >= 0) & (c["x_nm"] < 500) & (c["y_nm"] >= -200) & (c["y_nm"] < 900) & (c["z_nm"] >= -500)
        & (c["z_nm"] < 0))),
    "slab": (View(slab_nm=(-50, 50)), lambda c: (c["z_nm"] >= -50) & (c["z_nm"] < 50)),
    "slab of another view": (View(projection="xz", slab_nm=(-50, 50)), lambda c: (c["y_nm"] >= -50) & (c["y_nm"] < 50)),
    "region and slab": (View(z_nm=(0, 100), slab_nm=(-50, 50)), lambda c: (c["z_nm"] >= 0) & (c["z_nm"] < 50)),
    "volumes": (View(volumes=(2, 4)), lambda c: (c["volume"] >= 2) & (c["volume"] < 4)),
    "frames to the end": (View(frames=(35, None)), lambda c: c["frame"] >= 35),
    "probable and precise": (View(prob_min=0.5, sigma_max_nm=30), lambda c: (
        (c["prob"].astype(np.float32) >= 0.5) & (np.hypot(c["x_sig"], c["y_sig"]) <= 30 * math.sqrt(2)))),
}  # fmt: skip


@pytest.mark.parametrize("group_rows", [None, 100], ids=["one row group", "thirty"])
@pytest.mark.parametrize(("view", "chosen"), WHICH.values(), ids=WHICH)
def test_a_view_selects_the_expected_rows(
    tmp_path: Path, columns: dict[str, Any], view: View, chosen: Any, group_rows: int | None
) -> None:
    found = seen(write_pieces(tmp_path / "t.parquet", group_rows=group_rows, **columns), view)
    keep = chosen(columns)
    assert keep.sum() > 0
    for axis in "xyz":
        assert np.array_equal(found[axis], columns[f"{axis}_nm"][keep])


ROTATIONS = {
    "x": lambda a: [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]],
    "y": lambda a: [[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]],
    "z": lambda a: [[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]],
}


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("projection", ["xy", "xz", "yz"])
def test_a_tilted_slab_is_a_slab_of_rotated_coordinates(
    tmp_path: Path, columns: dict[str, Any], axis: Any, projection: Any
) -> None:
    view = View(
        tilt_deg=31.8,
        tilt_axis=axis,
        pivot_nm=(100, -50, 30),
        projection=projection,
        slab_nm=(-200, 300),
        x_nm=(-800, 900),
    )
    found = seen(write_pieces(tmp_path / "t.parquet", group_rows=700, **columns), view)
    inside = (columns["x_nm"] >= -800) & (columns["x_nm"] < 900)
    pivot = np.array([[100], [-50], [30]])
    raw = np.stack([columns[f"{name}_nm"].astype(float) for name in "xyz"])[:, inside]
    turned = np.array(ROTATIONS[axis](math.radians(31.8))) @ (raw - pivot) + pivot
    normal = turned[{"xy": 2, "xz": 1, "yz": 0}[projection]]
    expected = turned[:, (normal >= -200) & (normal < 300)]
    assert expected.shape[1] > 100
    assert np.allclose(np.stack([found[name] for name in "xyz"]), expected, atol=1e-9)


def test_sigmas_are_rotated_with_positions(tmp_path: Path) -> None:
    path = write_pieces(tmp_path / "t.parquet", x_nm=[0], x_sig=[10], y_sig=[20], z_sig=[40])
    (quarter,) = ViewedTable(path, View(tilt_deg=90, tilt_axis="y")).pieces()
    assert [float(quarter.sigma_nm[axis][0]) for axis in ("x", "y", "z")] == pytest.approx([40, 20, 10])
    (eighth,) = ViewedTable(path, View(tilt_deg=45, tilt_axis="x")).pieces()
    both = math.sqrt((20**2 + 40**2) / 2)
    assert [float(eighth.sigma_nm[axis][0]) for axis in ("x", "y", "z")] == pytest.approx([10, both, both])


def test_row_groups_outside_the_view_are_not_read(tmp_path: Path, columns: dict[str, Any]) -> None:
    path = write_pieces(tmp_path / "t.parquet", group_rows=100, **columns)
    assert ViewedTable(path, View()).num_row_groups_read == 30
    assert ViewedTable(path, View(frames=(0, 2))).num_row_groups_read <= 3
    assert ViewedTable(path, View(volumes=(100, None))).num_row_groups_read == 0
    assert ViewedTable(path, View(x_nm=(5000, 6000))).num_row_groups_read == 0
    assert ViewedTable(path, View(x_nm=(5000, 6000), tilt_deg=10)).num_row_groups_read == 0
    assert ViewedTable(path, View(slab_nm=(5000, 6000), tilt_deg=10)).num_row_groups_read == 30


@pytest.mark.parametrize(
    "wrong",
    [{"x_nm": (5, 5)}, {"slab_nm": (10, -10)}, {"volumes": (3, 3)}, {"frames": (-1, None)}],
)
def test_empty_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(wrong))} (from|[-\d]*:[-\d]* is empty)"):
        View(**wrong)


def test_a_missing_column_is_refused(tmp_path: Path) -> None:
    fields = [field for field in schema(with_sample=False) if field.name not in ("volume", "photons")]
    rows = pa.table([pa.array([0], field.type) for field in fields], schema=pa.schema(fields))
    with table_writer(tmp_path / "t.parquet", rows.schema, TableMetadata()) as writer:
        writer.write(rows)
    with pytest.raises(ConfigError, match="no column 'volume'"):
        ViewedTable(tmp_path / "t.parquet", View(volumes=(0, 1)))
    with pytest.raises(ConfigError, match="no column 'photons'"):
        ViewedTable(tmp_path / "t.parquet", dataclasses.replace(View(), projection="xz"), colour="photons")
