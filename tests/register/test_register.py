"""Registration moves positions and rotates sigmas, never twice, and can move a single channel."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lls_decode.config import Geometry
from lls_decode.errors import ConfigError, LlsDecodeError
from lls_decode.joining import join_tables
from lls_decode.molecules import link
from lls_decode.pipelines.cli import cli
from lls_decode.register import Transformation, apply_transformation, read_transformation, register_tables
from lls_decode.register.models import rotation
from lls_decode.table import read_metadata, read_table
from lls_decode.table.marks import kind_of

from .conftest import FIELD_NM, Moved, clusters, seen, write

STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
PLACES, SAMPLE = ("x_nm", "y_nm", "z_nm"), ("xs_nm", "ys_nm", "zs_nm")


def places(path: Path, names: tuple[str, ...] = PLACES) -> np.ndarray:
    rows = read_table(path)[0]
    return np.stack([rows[name].to_numpy().astype(float) for name in names], axis=1)


def turned(
    angle_deg: float = 30.0, shift: tuple[float, ...] = (10.0, -20.0, 30.0), coords: str = "raw"
) -> Transformation:
    zero = tuple((0.0,) * 4 for _ in range(4))
    return Transformation(
        model="rigid", coords=coords, pivot_nm=(100.0, 200.0, 0.0), values=(*shift, np.radians(angle_deg)),
        parameters=("shift_x_nm", "shift_y_nm", "shift_z_nm", "angle_rad"), covariance=zero,
    )  # fmt: skip


def sorted_places(place: np.ndarray) -> np.ndarray:
    return place[np.lexsort(place.T)]


@pytest.mark.parametrize("geometry", [None, STAGE, Geometry(motion="objective", stage_step_nm=250.0)],
                         ids=["movie", "stage", "objective"])  # fmt: skip
def test_a_registered_table_matches_the_fixed_one(geometry: Geometry | None, tmp_path: Path) -> None:
    random, moved = np.random.default_rng(3), Moved()
    sites = clusters(random)
    planes, names = (1, PLACES) if geometry is None else (20, SAMPLE)
    about = {"planes": planes, "geometry": geometry}
    fixed = write(tmp_path / "fixed.parquet", seen(sites, random), **about)
    mine = seen(sites, random, visits=2)
    moving = write(tmp_path / "moving.parquet", moved(mine), **about)
    made = register_tables(fixed, moving, out=tmp_path / "moved.parquet")
    after = places(tmp_path / "moved.parquet", names)
    error = made.transformation.sigma_at(after).max(axis=0)
    np.testing.assert_array_less(np.abs(sorted_places(after)[:, 2] - sorted_places(mine)[:, 2]), 5 * error[2] + 0.01)
    assert np.abs(after.mean(axis=0) - mine.mean(axis=0)).max() < 5 * error.max()
    frames = read_table(tmp_path / "moved.parquet")[0].select(["volume", "plane", "y_nm", "x_nm"]).to_pandas()
    assert frames.equals(frames.sort_values(["volume", "plane", "y_nm", "x_nm"], ignore_index=True))
    if geometry is not None:
        rows = read_table(tmp_path / "moved.parquet")[0]
        again = geometry.to_sample(*places(tmp_path / "moved.parquet").T, rows["plane"].to_numpy())
        np.testing.assert_allclose(np.stack(again, axis=1), after, atol=0.01)
    [step] = read_metadata(tmp_path / "moved.parquet").history
    assert step["transformation"] == made.transformation.to_dict()
    assert read_transformation(tmp_path / "moved_transformation.yaml") == made.transformation


def test_sigmas_are_rotated_with_positions(tmp_path: Path) -> None:
    place = np.random.default_rng(0).uniform(0, 1000, (50, 3))
    path = write(tmp_path / "a.parquet", place, sigma=np.array([10.0, 30.0, 50.0]))
    apply_transformation(path, turned(90.0), tmp_path / "b.parquet")
    rows = read_table(tmp_path / "b.parquet")[0]
    for name, sigma in (("x_sig", 30.0), ("y_sig", 10.0), ("z_sig", 50.0)):
        np.testing.assert_allclose(rows[name].to_numpy(), sigma, rtol=1e-5)
    apply_transformation(path, turned(30.0), tmp_path / "c.parquet")
    expected = np.sqrt(0.75 * 10**2 + 0.25 * 30**2)
    np.testing.assert_allclose(read_table(tmp_path / "c.parquet")[0]["x_sig"].to_numpy(), expected, rtol=1e-5)


def test_sigmas_of_a_tilted_scan_follow_the_covariance(tmp_path: Path) -> None:
    """Sigmas match random errors that are independent in camera coordinates and rotated in sample coordinates."""
    random, sigma = np.random.default_rng(0), np.array([10.0, 15.0, 60.0])
    path = write(tmp_path / "a.parquet", random.uniform(0, 1000, (20, 3)), geometry=STAGE, sigma=sigma)
    apply_transformation(path, turned(25.0, coords="sample"), tmp_path / "b.parquet")
    many = random.normal(0, 1, (400_000, 3)) * sigma
    zero = np.zeros(len(many))
    sample = np.stack(STAGE.to_sample(*many.T, zero), axis=1)
    matrix = np.eye(3)
    matrix[:2, :2] = rotation(np.radians(25.0))
    back = np.stack(STAGE.raw_displacement(*(sample @ matrix.T).T), axis=1)
    rows = read_table(tmp_path / "b.parquet")[0]
    found = [rows[f"{axis}_sig"][0].as_py() for axis in "xyz"]
    np.testing.assert_allclose(found, back.std(axis=0), rtol=0.01)


def test_unknown_z_and_sigmas_stay_unknown(tmp_path: Path) -> None:
    place = np.random.default_rng(0).uniform(0, 1000, (50, 3))
    place[:10, 2] = np.nan
    path = write(tmp_path / "a.parquet", place, sigma=np.array([10.0, 10.0, np.nan]))
    apply_transformation(path, turned(), tmp_path / "b.parquet")
    after = places(tmp_path / "b.parquet")
    assert np.isnan(after[:, 2]).sum() == 10
    assert np.isfinite(after[:, :2]).all()
    rows = read_table(tmp_path / "b.parquet")[0]
    assert np.isfinite(rows["x_sig"].to_numpy()).all()
    assert np.isnan(rows["z_sig"].to_numpy()).all()


def test_molecules_are_moved(tmp_path: Path) -> None:
    place = np.repeat(np.random.default_rng(0).uniform(0, 9000, (30, 3)), 4, axis=0)
    path = write(tmp_path / "a.parquet", place, frame=np.tile(np.arange(4), 30))
    molecules = link(path, out=tmp_path / "linked").molecules
    apply_transformation(molecules, turned(), tmp_path / "b.parquet")
    np.testing.assert_allclose(places(tmp_path / "b.parquet"), turned().apply(places(molecules)), atol=0.01)


def test_a_transformation_is_never_applied_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", np.random.default_rng(0).uniform(0, 1000, (50, 3)))
    apply_transformation(path, turned(), tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="already moved by this transformation"):
        apply_transformation(tmp_path / "b.parquet", turned(), tmp_path / "c.parquet")
    other = write(tmp_path / "d.parquet", np.random.default_rng(1).uniform(0, 1000, (50, 3)))
    join_tables([tmp_path / "b.parquet", other], tmp_path / "joined.parquet")
    with pytest.raises(ConfigError, match="already moved by this transformation"):
        apply_transformation(tmp_path / "joined.parquet", turned(), tmp_path / "c.parquet")
    assert apply_transformation(tmp_path / "b.parquet", turned(-30.0), tmp_path / "c.parquet") == 50


def test_a_transformation_of_other_coordinates_or_of_a_missing_channel_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", np.random.default_rng(0).uniform(0, 1000, (50, 3)))
    with pytest.raises(ConfigError, match=r"is in sample coordinates, .* has raw ones"):
        apply_transformation(path, turned(coords="sample"), tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="no column 'channel'"):
        apply_transformation(path, turned(), tmp_path / "b.parquet", channel=1)


def test_one_channel_of_a_table_is_registered_to_another(tmp_path: Path) -> None:
    random, moved = np.random.default_rng(4), Moved(angle_deg=0.5, shift=(40.0, -30.0, 100.0))
    sites = clusters(random)
    one, other = seen(sites, random), moved(seen(sites, random))
    place = np.concatenate([one, other])
    table = write(tmp_path / "t.parquet", place, channel=np.repeat([0, 1], [len(one), len(other)]))
    words = [
        "register",
        str(table),
        "--fixed-channel",
        "0",
        "--moving-channel",
        "1",
        "--out",
        str(tmp_path / "o.parquet"),
    ]
    said = CliRunner().invoke(cli, words)
    assert said.exit_code == 0, (said.output, said.exception)
    assert f"({len(other)} rows moved)" in said.output
    before, after = (read_table(path)[0].to_pandas() for path in (table, tmp_path / "o.parquet"))
    keys = ["frame", "y_nm", "x_nm"]
    still = [rows[rows.channel == 0].sort_values(keys, ignore_index=True) for rows in (before, after)]
    assert still[0].equals(still[1])
    found = read_transformation(tmp_path / "o_transformation.yaml")
    assert abs(found.angle_deg + 0.5) < 4 * found.angle_sigma_deg
    middle = after[after.channel == 1][list(PLACES)].mean() - moved.back(other).mean(axis=0)
    assert np.abs(middle).max() < 5 * max(found.error_nm)


def test_the_register_command_estimates_and_applies(tmp_path: Path) -> None:
    random, moved = np.random.default_rng(5), Moved()
    sites = clusters(random)
    fixed = write(tmp_path / "fixed.parquet", seen(sites, random))
    moving = write(tmp_path / "moving.parquet", moved(seen(sites, random)))
    out = tmp_path / "moved.parquet"
    said = CliRunner().invoke(cli, ["register", str(fixed), str(moving), "--out", str(out), "--json"])
    assert said.exit_code == 0, (said.output, said.exception)
    told = json.loads(said.stdout)
    assert abs(told["angle_deg"] + 2) < 4 * told["angle_sigma_deg"]
    assert told["written"] == [str(tmp_path / "moved_transformation.yaml"), str(out)]
    yaml = tmp_path / "moved_transformation.yaml"
    assert kind_of(yaml) == "a transformation"
    again = CliRunner().invoke(
        cli, ["register", str(moving), "--apply", str(yaml), "--out", str(tmp_path / "b.parquet")]
    )
    assert again.exit_code == 0, (again.output, again.exception)
    assert pq.read_table(tmp_path / "b.parquet").equals(pq.read_table(out))
    assert f"x {told['shift_nm'][0]:.2f} ± {told['shift_sigma_nm'][0]:.2f}" in again.output
    twice = CliRunner().invoke(cli, ["register", str(out), "--apply", str(yaml), "--out", str(tmp_path / "c.parquet")])
    assert isinstance(twice.exception, LlsDecodeError)
    assert not (tmp_path / "c.parquet").exists()


def test_inconsistent_arguments_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", np.random.default_rng(0).uniform(0, FIELD_NM, (500, 3)))
    with pytest.raises(ConfigError, match="one table; also give the moving table"):
        register_tables(path)
    with pytest.raises(ConfigError, match="only used to move a table"):
        register_tables(path, apply=turned())
    with pytest.raises(ConfigError, match="omit the other table"):
        register_tables(path, path, apply=turned(), out=tmp_path / "b.parquet")
    (tmp_path / "t.yaml").write_text(turned().to_yaml().replace("angle_rad", "angle"))
    with pytest.raises(ConfigError, match="a map of kind rigid has the parameters"):
        register_tables(path, apply=tmp_path / "t.yaml", out=tmp_path / "b.parquet")
