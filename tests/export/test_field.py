"""The field of Picasso and SMAP files is that of the dataset; rows outside it shift no others and are reported."""

from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import yaml

from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import ConfigError
from lls_decode.export.exporting import Exported, export_table
from lls_decode.export.field import MARGIN_NM, DatasetSize, Tilt, field_of
from lls_decode.export.importing import import_table
from lls_decode.table import read_metadata

from .conftest import GEOMETRY, MODEL, random_columns, random_molecules, write_molecules, write_table

PIXEL = PixelSize(x_nm=100.0, y_nm=100.0)
DATASET = {"width": 300, "height": 260, "num_frames": 900}
STRAYS = {
    "below zero": {"x_nm": -20.0, "y_nm": -130.0},
    "far below": {"x_nm": -40_000.0, "y_nm": -9000.0},
    "beyond": {"x_nm": 25e6, "y_nm": 60_000.0},
}


def table(path: Path, kind: str, extra: dict[str, float] | None, **metadata: Any) -> Path:
    """Write rows within the frames, and optionally a first row at the given position."""
    columns = (random_columns if kind == "localizations" else random_molecules)(400)
    columns |= {name: np.abs(columns[name]) for name in ("x_nm", "y_nm")}
    if extra is not None:
        columns = {name: np.concatenate([values[:1], values]) for name, values in columns.items()}
        columns |= {name: np.concatenate([[value], columns[name][1:]]) for name, value in extra.items()}
        columns["photons"][0] = 12_345.0
    write = write_table if kind == "localizations" else write_molecules
    return write(path, columns, **{"pixel_size": PIXEL, "model": MODEL, **metadata})


def picasso(made: Exported) -> tuple[dict[float, tuple[float, float]], dict[str, Any]]:
    """Return positions by number of photons, which identifies rows, and the metadata."""
    (about,) = yaml.safe_load_all(made.path.with_suffix(".yaml").read_text())
    with h5py.File(made.path) as file:
        locs = file["locs"][:]
    return {float(row["photons"]): (float(row["x"]), float(row["y"])) for row in locs}, about


def smap(made: Exported) -> tuple[dict[float, tuple[float, float]], dict[str, Any]]:
    with h5py.File(made.path) as file:
        loc, info = file["saveloc/loc"], file["saveloc/file/info"]
        about = {name: info[name][:].ravel().tolist() for name in ("Width", "Height", "roi", "numberOfFrames")}
        rows = zip(loc["phot"][0], loc["xnm"][0], loc["ynm"][0], strict=True)
        return {float(photons): (float(x), float(y)) for photons, x, y in rows}, about


READ = {"picasso": (picasso, ".hdf5"), "smap": (smap, "_sml.mat")}
Format = Literal["picasso", "smap"]


@pytest.mark.parametrize("where", STRAYS)
@pytest.mark.parametrize("size", [DATASET, {}], ids=["known", "unknown"])
@pytest.mark.parametrize("geometry", [None, GEOMETRY], ids=["movie", "tilted"])
@pytest.mark.parametrize("kind", ["localizations", "molecules"])
@pytest.mark.parametrize("format", READ)
def test_a_stray_row_shifts_no_other_row(
    format: Format, kind: str, geometry: Geometry | None, size: dict[str, int], where: str, tmp_path: Path
) -> None:
    read, suffix = READ[format]
    made = [
        export_table(
            table(tmp_path / f"{name}.parquet", kind, extra, geometry=geometry, **size),
            tmp_path / f"{name}{suffix}",
        )
        for name, extra in (("without", None), ("with", STRAYS[where]))
    ]
    (without, about), (with_it, about_it) = map(read, made)
    stray = with_it.pop(12_345.0)
    assert with_it == without
    if size:  # with a known size the metadata do not depend on rows
        assert about_it | {"Source": ""} == about | {"Source": ""}
        assert not made[0].notes
    else:
        assert "give size (--size WIDTHxHEIGHT)" in " ".join(made[0].notes)
        assert about_it.get("Shift (px)") == about.get("Shift (px)")
    if format == "picasso":
        inside = 0 <= stray[0] < about_it["Width"] and 0 <= stray[1] < about_it["Height"]
        assert any("1 of 401 rows lie outside" in note for note in made[1].notes) != inside
        if size:
            assert not inside


@pytest.mark.parametrize("kind", ["localizations", "molecules"])
def test_exported_sizes_come_from_the_dataset_or_the_options(kind: str, tmp_path: Path) -> None:
    path = table(tmp_path / "table.parquet", kind, None, **DATASET)
    _, about = picasso(export_table(path, tmp_path / "out.hdf5"))
    assert about.items() >= {"Width": 300, "Height": 260, "Frames": 900, "Shift (px)": [0, 0]}.items()
    _, said = smap(export_table(path, tmp_path / "out_sml.mat"))
    assert said == {"Width": [300], "Height": [260], "roi": [0, 0, 300, 260], "numberOfFrames": [900]}
    _, about = picasso(export_table(path, tmp_path / "out.hdf5", size=(512, 400), num_frames=20_000, first_px=(-3, 2)))
    assert about.items() >= {"Width": 515, "Height": 398, "Frames": 20_000, "Shift (px)": [3, -2]}.items()
    _, said = smap(export_table(path, tmp_path / "out_sml.mat", size=(512, 400), num_frames=20_000, first_px=(-3, 2)))
    assert said == {"Width": [515], "Height": [398], "roi": [-3, 2, 515, 398], "numberOfFrames": [20_000]}


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("coords", ["sample", "deskewed"])
def test_the_field_of_a_tilted_scan_covers_all_planes_with_a_margin(
    coords: Literal["sample", "deskewed"], axis: Literal["x", "y"], direction: Literal[1, -1], tmp_path: Path
) -> None:
    """The field contains every pixel of every plane within the model's z range, and extends by the margin only."""
    geometry = GEOMETRY.replace(propagation_axis=axis, scan_direction=direction)
    columns = random_columns(3000)
    random = np.random.default_rng(1)
    columns |= {"x_nm": random.choice([0.0, 29_900.0], 3000), "y_nm": random.choice([0.0, 25_900.0], 3000)}
    columns |= {"z_nm": random.choice([-600.0, 600.0], 3000)}
    about = {"pixel_size": PIXEL, "geometry": geometry, "model": {"z_range_nm": [-600.0, 600.0]}, **DATASET}
    made = export_table(write_table(tmp_path / "table.parquet", columns, **about), tmp_path / "out.hdf5", coords=coords)
    assert made.notes == ()
    places, said = picasso(made)
    along = np.array(list(places.values()))
    margin_px = MARGIN_NM / 100
    place, size = "xy".index(axis), {"x": said["Width"], "y": said["Height"]}
    assert margin_px <= along[:, place].min() <= margin_px + 2
    assert margin_px <= size[axis] - along[:, place].max() <= margin_px + 3
    other = "y" if axis == "x" else "x"
    assert size[other] == {"x": 300, "y": 260}[other]
    assert said["Shift (px)"]["xy".index(other)] == 0


def test_an_objective_scan_keeps_the_field_of_the_camera() -> None:
    tilt = Tilt(Geometry(motion="objective", stage_step_nm=200.0), True, 30, (-500.0, 500.0))
    size = DatasetSize(512, 400, 3000)
    field = field_of(size, pixel=PIXEL, camera_pixel=PIXEL, tilt=tilt, first_px=None, highest={}, source="t")
    assert (field.first_px, field.size_px, field.num_frames, field.notes) == ((0, 0), (512, 400), 3000, ())


def test_import_restores_the_size_of_the_dataset(tmp_path: Path) -> None:
    """Import reads the size from Picasso and SMAP files, so that a second export needs no note."""
    path = table(tmp_path / "table.parquet", "localizations", None, **DATASET)
    for name in ("out.hdf5", "out_sml.mat"):
        export_table(path, tmp_path / name)
        back = import_table(tmp_path / name, tmp_path / "back.parquet")
        assert DatasetSize.of(read_metadata(back)) == DatasetSize(300, 260, 900)
        assert export_table(back, tmp_path / f"again-{name}").notes == ()


@pytest.mark.parametrize("options", [{"size": (3, 3)}, {"num_frames": 3}, {"first_px": (0, 0)}])
def test_formats_that_store_no_size_refuse_one(options: dict[str, Any], tmp_path: Path) -> None:
    path = table(tmp_path / "table.parquet", "localizations", None)
    with pytest.raises(ConfigError, match="smap, picasso"):
        export_table(path, tmp_path / "out.csv", **options)


@pytest.mark.parametrize("name", ["out.hdf5", "out_sml.mat"])
def test_rows_after_the_last_frame_are_noted(name: str, tmp_path: Path) -> None:
    path = table(tmp_path / "table.parquet", "localizations", None, **DATASET)
    made = export_table(path, tmp_path / name, num_frames=5)
    assert any("but the number of frames is 5; give another one" in note for note in made.notes)


@pytest.mark.parametrize("options", [{"size": (0, 3)}, {"num_frames": 0}])
def test_impossible_sizes_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    path = table(tmp_path / "table.parquet", "localizations", None)
    with pytest.raises(ConfigError, match="expected 1 or more"):
        export_table(path, tmp_path / "out.hdf5", **options)
