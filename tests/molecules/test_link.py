"""Linking localizations into molecules: closed forms, known truth, independence of batches, and undoing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lls_decode.config import Geometry
from lls_decode.errors import ConfigError, OutputError, TableError
from lls_decode.export.exporting import export_table
from lls_decode.molecules import Gate, filter_table, link, molecule_schema, unlink
from lls_decode.molecules.linking import MOLECULES
from lls_decode.pictures.render import render_png
from lls_decode.table import MOLECULES_VERSION, read_metadata, read_table, schema
from tests.disks import fill

from .conftest import STAGE, WriteRows, make_rows

Columns = dict[str, Any]


def seen_molecules(
    *, num: int, planes: int, volumes: int, per_molecule: int, geometry: Geometry | None, seed: int = 0
) -> tuple[Columns, np.ndarray]:
    """Return localizations of isolated molecules in the order of a table, and true deskewed positions (3, num)."""
    random = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(num)))
    truth = np.stack([np.arange(num) % side * 2000.0, np.arange(num) // side * 2000.0, random.uniform(-300, 300, num)])
    first = random.integers(0, planes * volumes if planes == 1 else planes - per_molecule, num)
    volume = np.zeros(num, dtype=int) if planes == 1 else random.integers(0, volumes, num)
    molecule = np.repeat(np.arange(num), per_molecule)
    frame = (volume * planes + first)[molecule] + np.tile(np.arange(per_molecule), num)
    sigma = random.uniform(10, 30, (3, len(frame)))
    x, y, z = truth[:, molecule] + random.normal(0, sigma)
    plane = frame % planes
    if geometry is not None:
        truth[2] += first * geometry.axial_step_nm  # near the focus of the planes in which the molecule is visible
        truth[0] += first * geometry.lateral_step_nm
        x += (first[molecule] - plane) * geometry.lateral_step_nm
        z += (first[molecule] - plane) * geometry.axial_step_nm
    order = np.lexsort((x, y, frame))
    columns = {
        "frame": frame, "x_nm": x, "y_nm": y, "z_nm": z, "x_sig": sigma[0], "y_sig": sigma[1], "z_sig": sigma[2],
        "photons": random.uniform(500, 1500, len(frame)), "phot_sig": random.uniform(20, 90, len(frame)),
        "bg": random.uniform(5, 20, len(frame)), "prob": random.uniform(0.4, 1.05, len(frame)), "molecule": molecule,
    }  # fmt: skip
    return {name: values[order] for name, values in columns.items()}, truth


WAYS = {
    "movie": {"planes": 1, "volumes": 60, "geometry": None},
    "stage scan": {"planes": 12, "volumes": 3, "geometry": STAGE},
    "along y, backwards": {
        "planes": 12, "volumes": 3, "geometry": STAGE.replace(propagation_axis="y", scan_direction=-1),
    },
    "objective scan": {"planes": 12, "volumes": 3, "geometry": Geometry(motion="objective", stage_step_nm=200.0)},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_isolated_molecules_have_the_errors_of_weighted_means(write_rows: WriteRows, way: dict[str, Any]) -> None:
    num, per_molecule = 900, 5
    geometry = way["geometry"]
    columns, truth = seen_molecules(num=num, per_molecule=per_molecule, **along_x(way))
    molecule = columns.pop("molecule")
    if geometry is not None and geometry.propagation_axis == "y":
        columns, truth = turned(columns), truth[[1, 0, 2]]
    path = write_rows(columns, planes=way["planes"], geometry=geometry)
    made = link(path, gate=Gate(sigmas=7), volume_gap=None)
    rows, found = pd.read_parquet(path), pd.read_parquet(made.molecules)
    assert made.num_molecules == len(found) == num
    assert made.num_rows == len(rows) == num * per_molecule

    # each true molecule has its own number; numbers follow the order of first localizations
    true_of = rows.assign(molecule=molecule).groupby("group").molecule.agg(["min", "max"])
    assert (true_of["min"] == true_of["max"]).all()
    assert rows.group.drop_duplicates().tolist() == list(range(num))

    found = found.set_index("group").loc[true_of.index]
    truth = truth[:, true_of["min"]]
    for axis, true in zip("xyz", truth, strict=True):
        error = (found[f"{axis}_nm"] - true) / found[f"{axis}_sig"]
        assert np.sqrt(np.mean(error**2)) == pytest.approx(1, abs=4 / np.sqrt(2 * num))
        weights = (1 / rows[f"{axis}_sig"].astype(float) ** 2).groupby(rows.group).sum()
        np.testing.assert_allclose(found[f"{axis}_sig"], weights**-0.5, rtol=1e-5)
    by_group = rows.groupby("group")
    np.testing.assert_allclose(found.photons, by_group.photons.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.phot_sig, (rows.phot_sig**2).groupby(rows.group).sum() ** 0.5, rtol=1e-5)
    np.testing.assert_allclose(found.bg, by_group.bg.mean(), rtol=1e-5)
    np.testing.assert_array_equal(found.prob, by_group.prob.max())
    missed = (1 - rows.prob.astype(float).clip(upper=1)).groupby(rows.group).prod()
    np.testing.assert_allclose(found.prob_any, 1 - missed, rtol=1e-5)
    np.testing.assert_array_equal(found.frame, by_group.frame.min())
    np.testing.assert_array_equal(found.last_frame, by_group.frame.max())
    assert (found.num_frames == per_molecule).all()
    assert (found.num_planes == (1 if geometry is None else per_molecule)).all()
    assert (found.num_volumes == (per_molecule if geometry is None else 1)).all()
    if geometry is not None:
        sample = geometry.to_sample(*(found[f"{axis}_nm"].to_numpy(np.float64) for axis in "xyz"), 0)
        for axis, expected in zip("xyz", sample, strict=True):
            np.testing.assert_allclose(found[f"{axis}s_nm"], expected, atol=0.02)


def along_x(way: dict[str, Any]) -> dict[str, Any]:
    geometry = way["geometry"]
    return way if geometry is None else {**way, "geometry": geometry.replace(propagation_axis="x")}


def turned(columns: Columns) -> Columns:
    """Exchange x and y."""
    swap = {"x_nm": "y_nm", "y_nm": "x_nm", "x_sig": "y_sig", "y_sig": "x_sig"}
    return {name: columns[swap.get(name, name)] for name in columns}


@pytest.mark.parametrize("num_sightings", [1, 4, 16])
def test_the_error_falls_with_the_square_root_of_the_number_of_sightings(
    write_rows: WriteRows, num_sightings: int
) -> None:
    random, num, sigma = np.random.default_rng(1), 3000, 12.0
    frame = np.repeat(np.arange(num_sightings), num)
    true_x = np.tile(np.arange(num) * 500.0, num_sightings)
    x = true_x + random.normal(0, sigma, len(frame))
    made = link(write_rows({"frame": frame, "x_nm": x, "x_sig": np.full(len(x), sigma)}), gate=Gate(sigmas=7))
    found = pd.read_parquet(made.molecules).sort_values("group")
    assert len(found) == num
    error = found.x_nm.to_numpy(np.float64) - true_x[:num]
    assert np.std(error) == pytest.approx(sigma / np.sqrt(num_sightings), rel=4 / np.sqrt(2 * num))


def test_gaps_in_frames_planes_and_volumes_are_bridged_as_configured(write_rows: WriteRows) -> None:
    def num_molecules(frames: list[int], planes: int = 1, **options: Any) -> int:
        x = [-(frame % planes) * STAGE.lateral_step_nm for frame in frames]
        z = [-(frame % planes) * STAGE.axial_step_nm for frame in frames]
        columns = {"frame": frames} | ({"x_nm": x, "z_nm": z} if planes > 1 else {})
        path = write_rows(columns, planes=planes, geometry=STAGE if planes > 1 else None)
        return link(path, **options).num_molecules

    assert num_molecules([0, 1, 3], gap=0) == 2
    assert num_molecules([0, 1, 3], gap=1) == 1
    assert num_molecules([0, 1, 4], gap=1) == 2
    # with ten planes per volume: planes 2 and 4 of volume 0, plane 3 of volume 1, plane 3 of volume 3
    assert num_molecules([2, 4, 13, 33], planes=10, gap=0, volume_gap=None) == 4
    assert num_molecules([2, 4, 13, 33], planes=10, gap=1, volume_gap=None) == 3
    assert num_molecules([2, 4, 13, 33], planes=10, gap=1, volume_gap=0) == 2
    assert num_molecules([2, 4, 13, 33], planes=10, gap=1, volume_gap=1) == 1
    # the last plane of a sweep is never linked to the first of the next as if they were neighbours
    assert num_molecules([9, 10], planes=10, gap=20, volume_gap=None) == 2
    # gaps longer than any table take no longer, and do not overflow
    assert num_molecules([0, 1, 300], gap=10**40) == 1
    assert num_molecules([2, 9, 13, 33], planes=10, gap=10**40, volume_gap=10**40) == 1
    assert num_molecules([9, 10], planes=10, gap=10**40, volume_gap=None) == 2


def test_molecules_across_volumes_count_frames_planes_and_volumes(write_rows: WriteRows) -> None:
    frames = [2, 3, 12, 13, 14, 23]
    x = [-(frame % 10) * STAGE.lateral_step_nm for frame in frames]
    z = [-(frame % 10) * STAGE.axial_step_nm for frame in frames]
    path = write_rows({"frame": frames, "x_nm": x, "z_nm": z}, planes=10, geometry=STAGE)
    [found] = pq.read_table(link(path).molecules).to_pylist()
    assert (found["num_frames"], found["num_planes"], found["num_volumes"]) == (6, 3, 3)
    assert (found["frame"], found["last_frame"], found["photons"]) == (2, 23, 6000)
    assert found["x_nm"] == pytest.approx(0, abs=0.01)
    assert found["z_nm"] == pytest.approx(0, abs=0.01)


def test_linking_uses_corrected_sample_coordinates(write_rows: WriteRows) -> None:
    """Drift between volumes is removed from the sample coordinates only, which lets the rows be linked."""
    drift = np.array([0.0, 80.0, 160.0])
    rows = make_rows({"frame": [0, 10, 20], "x_nm": drift}, planes=10, geometry=STAGE).to_pydict()
    apart = link(write_rows(rows, planes=10, geometry=STAGE))
    assert apart.num_molecules == 3
    rows["xs_nm"] = np.asarray(rows["xs_nm"]) - drift * np.cos(np.radians(STAGE.angle_deg))
    rows["zs_nm"] = np.asarray(rows["zs_nm"]) + drift * np.sin(np.radians(STAGE.angle_deg))
    together = link(write_rows(rows, planes=10, geometry=STAGE))
    assert together.num_molecules == 1
    assert pq.read_table(together.molecules)["x_nm"].to_pylist() == pytest.approx([0], abs=0.01)


def test_without_z_molecules_are_linked_in_the_plane(write_rows: WriteRows) -> None:
    path = write_rows({"frame": [0, 1], "z_nm": [np.nan, np.nan], "z_sig": [np.nan, np.nan]})
    [found] = pq.read_table(link(path).molecules).to_pylist()
    assert found["num_frames"] == 2
    assert np.isnan(found["z_nm"])
    assert np.isnan(found["z_sig"])
    assert found["x_sig"] == pytest.approx(10 / np.sqrt(2))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("batch_rows", [40, 10_000])
def test_channels_are_linked_separately(way: dict[str, Any], batch_rows: int, write_rows: WriteRows) -> None:
    """Linking both channels together gives the same molecules as linking each alone, even at the same places."""
    parts = [seen_molecules(num=40, per_molecule=4, seed=seed, **way)[0] for seed in (3, 4)]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows["channel"] = np.repeat([0, 2], [len(part["frame"]) for part in parts])
    order = np.lexsort((rows["x_nm"], rows["y_nm"], rows["frame"]))
    rows = {name: values[order] for name, values in rows.items()}
    about = {"planes": way["planes"], "geometry": way["geometry"]}
    together = write_rows(rows, name="together.parquet", **about)
    made = link(together, out=together.parent / "both", batch_rows=batch_rows)
    found, metadata = read_table(made.molecules)
    assert metadata.has_channels
    for channel in (0, 2):
        alone = filter_table(together, together.parent / f"{channel}.parquet", where=f"channel == {channel}").path
        expected = read_table(link(alone, out=together.parent / str(channel)).molecules)[0]
        mine = found.filter(pc.equal(found["channel"], channel))
        keys = [(name, "ascending") for name in ("frame", "x_nm", "y_nm")]
        assert plain(mine.sort_by(keys).drop_columns("group")).equals(
            plain(expected.sort_by(keys).drop_columns("group"))
        )
    localizations = read_table(made.localizations)[0].to_pandas()
    assert (localizations.groupby("group").channel.nunique() == 1).all()


def test_an_empty_table_has_no_molecules(write_rows: WriteRows) -> None:
    made = link(write_rows({"frame": np.empty(0, dtype=int)}))
    assert (made.num_rows, made.num_molecules) == (0, 0)
    assert pq.read_table(made.molecules).schema.names == molecule_schema(with_sample=False).names


@st.composite
def crowded(draw: st.DrawFn) -> tuple[Columns, int]:
    """Draw a few rows on a small lattice, with competing candidates, ties, gaps and empty frames."""
    num = draw(st.integers(1, 40))
    frame = np.sort(draw(st.lists(st.integers(0, 30), min_size=num, max_size=num)))
    place = st.lists(st.integers(-4, 4), min_size=num, max_size=num)
    x, y = (7.3 * np.array(draw(place)) for _ in range(2))
    sigma = np.array(draw(st.lists(st.sampled_from([3.0, 10.0]), min_size=num, max_size=num)))
    return {"frame": frame, "x_nm": x, "y_nm": y, "x_sig": sigma, "prob": sigma / 11}, draw(st.integers(0, 3))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crowded(), st.sampled_from([1, 4]), st.integers(1, 12), st.integers(1, 12))
def test_molecules_do_not_depend_on_row_groups_and_batches(
    write_rows: WriteRows, crowd: tuple[Columns, int], planes: int, piece_rows: int, batch_rows: int
) -> None:
    columns, gap = crowd
    geometry = STAGE.replace(stage_step_nm=1.0) if planes > 1 else None
    whole = write_rows(columns, planes=planes, geometry=geometry, name="whole.parquet")
    cut = write_rows(columns, planes=planes, geometry=geometry, name="cut.parquet", piece_rows=piece_rows)
    one = link(whole, out=whole.parent / "one", gap=gap, volume_gap=gap)
    two = link(cut, out=whole.parent / "two", gap=gap, volume_gap=gap, batch_rows=batch_rows)
    for name in ("localizations", "molecules"):
        expected, found = (read_table(getattr(made, name))[0] for made in (one, two))
        assert plain(found).equals(plain(expected)), name


def plain(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata(None).combine_chunks()


def test_linking_writes_both_tables_with_metadata_and_history(write_rows: WriteRows, tmp_path: Path) -> None:
    path = write_rows({"frame": [0, 1, 5]}, run_digest="feed")
    before = read_table(path)[0]
    made = link(path, gate=Gate(lateral_nm=99))
    assert (made.localizations, made.molecules) == (path, tmp_path / MOLECULES)
    after, metadata = read_table(path)
    assert after["group"].to_pylist() == [0, 0, 1]
    assert plain(after.drop_columns("group")).equals(plain(before.drop_columns("group")))
    assert after.schema.equals(schema(with_sample=False), check_metadata=False)
    assert metadata.run_digest == "feed"
    [step] = metadata.history
    assert (step["step"], step["lateral_nm"], step["gap"]) == ("link", 99, 1)

    of_molecules = read_metadata(made.molecules)
    assert (of_molecules.kind, of_molecules.version) == ("molecules", MOLECULES_VERSION)
    assert of_molecules.run_digest == "feed"
    assert of_molecules.history == metadata.history
    assert of_molecules.columns["x_sig"].unit == "nm"
    attributes = pd.read_parquet(made.molecules).attrs["lls_decode"]
    assert attributes["columns"]["photons"]["description"] == "sum over the detections"
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, MOLECULES]


def test_linking_again_replaces_the_result_and_undoing_restores_the_table(write_rows: WriteRows) -> None:
    path = write_rows({"frame": [0, 1, 5], "x_nm": [0.0, 40.0, 0.0]})
    unlink_me = path.read_bytes()
    link(path, gap=5)
    link(path, gate=Gate(lateral_nm=20))
    assert len(read_metadata(path).history) == 1
    assert read_table(path)[0]["group"].to_pylist() == [0, 1, 2]
    assert unlink(path) == path
    assert read_table(path)[0]["group"].to_pylist() == [-1, -1, -1]
    assert read_metadata(path).history == ()
    assert not (path.parent / MOLECULES).exists()
    assert plain(read_table(path)[0]).equals(plain(pq.read_table(pa.BufferReader(unlink_me))))
    with pytest.raises(TableError, match="is not linked"):
        unlink(path)


def test_linking_into_another_folder_leaves_the_table_unchanged(write_rows: WriteRows, tmp_path: Path) -> None:
    path = write_rows({"frame": [0, 1]})
    before = path.read_bytes()
    made = link(path, out=tmp_path / "linked")
    assert path.read_bytes() == before
    assert {made.localizations.parent, made.molecules.parent} == {tmp_path / "linked"}
    with pytest.raises(OutputError, match="cannot be written"):
        link(path, out=path / "below a file")


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "no sigma": ({"x_sig": [1.0, np.nan]}, {}, TableError, r"without a position or a sigma in x and y .*frame 1"),
    "zero sigma": ({"y_sig": [0.0, 1.0]}, {}, TableError, r"first in frame 0"),
    "no position": ({"x_nm": [np.inf, 1.0]}, {}, TableError, r"first in frame 0"),
    "unsorted frames": ({"frame": [1, 0]}, {}, TableError, "not sorted by frame"),
    "planes without geometry": ({}, {"planes": 5}, TableError, "5 planes per volume but no columns xs_nm"),
}


@pytest.mark.parametrize(("columns", "options", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_tables_that_cannot_be_linked_are_refused(
    write_rows: WriteRows, columns: Columns, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    path = write_rows({"frame": [0, 1], **columns}, **options)
    before = path.read_bytes()
    with pytest.raises(kind, match=message):
        link(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_filter_that_a_refusal_names_makes_a_table_that_can_be_linked(
    write_rows: WriteRows, tmp_path: Path
) -> None:
    path = write_rows({"frame": [0, 1, 2], "x_nm": [np.nan, 1.0, 2.0], "y_sig": [1.0, np.nan, 1.0]})
    with pytest.raises(TableError, match="filter them out") as caught:
        link(path)
    condition = str(caught.value).split('--where "')[1].split('"')[0]
    filter_table(path, tmp_path / "finite.parquet", where=condition)
    assert link(tmp_path / "finite.parquet").num_molecules == 1


def test_tables_of_molecules_negative_gaps_and_conflicting_names_are_refused(write_rows: WriteRows) -> None:
    path = write_rows({"frame": [0, 1]})
    made = link(path)
    with pytest.raises(TableError, match="is a table of molecules; give the table of localizations"):
        link(made.molecules)
    with pytest.raises(ConfigError, match=r"gap is -2; expected 0"):
        link(path, gap=-2)
    made.molecules.unlink()
    with pytest.raises(ConfigError, match="has the name of the file that molecules are written to"):
        link(write_rows({"frame": [0, 1]}, name=MOLECULES))


def test_a_table_of_an_unknown_kind_or_version_is_refused(write_rows: WriteRows) -> None:
    made = link(write_rows({"frame": [0, 1]}))
    table = pq.read_table(made.molecules)
    for change, message in (({"kind": "trees"}, "is a table of trees"), ({"version": [2, 0]}, "of version 2.0")):
        values = json.loads(table.schema.metadata[b"lls_decode"]) | change
        pq.write_table(table.replace_schema_metadata({b"lls_decode": json.dumps(values)}), made.molecules)
        with pytest.raises(TableError, match=message):
            read_metadata(made.molecules)


def test_other_commands_accept_the_table_of_molecules(write_rows: WriteRows, tmp_path: Path) -> None:
    frames = [2, 3, 4, 15]
    x = [100 - (frame % 10) * STAGE.lateral_step_nm for frame in frames]
    z = [-(frame % 10) * STAGE.axial_step_nm for frame in frames]
    made = link(write_rows({"frame": frames, "x_nm": x, "z_nm": z}, planes=10, geometry=STAGE), volume_gap=None)
    picture = render_png(made.molecules, tmp_path / "picture.png")
    assert (picture.num_drawn, picture.coords) == (2, "sample")
    exported = export_table(made.molecules, tmp_path / "molecules.csv")
    assert exported.rows == 2
    assert pd.read_csv(exported.path).filter(like="photons").iloc[0, 0] == 3000


def test_a_full_disk_leaves_neither_table_without_the_other(
    write_rows: WriteRows, mount_disk: Callable[[str], Path]
) -> None:
    """Molecules alone would have numbers that no row of the older table beside them has."""
    path = write_rows({"frame": np.arange(400) * 10, "x_nm": np.random.default_rng(0).uniform(0, 9e4, 400)})
    disk = mount_disk("size=128k")
    outcomes = set()
    for free in range(0, 128 << 10, 4096):
        ballast = fill(disk, leave=free)
        try:
            link(path, out=disk)
            outcomes.add("linked")
        except OutputError as error:
            outcomes.add(str(error).partition("cannot be written: ")[2])
        found = {item.name for item in disk.iterdir()} - {ballast.name}
        assert found in (set(), {path.name, MOLECULES})
        for item in disk.iterdir():
            item.unlink()
    assert outcomes == {"the disk is full; free some space, or choose another output folder.", "linked"}
