"""Neuroglancer annotations, read by the specification, contain every point once with its properties."""

import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lls_decode.errors import ConfigError, LlsDecodeError, OutputError, TableError
from lls_decode.export.exporting import export_table
from lls_decode.export.formats.neuroglancer import levels
from lls_decode.export.formats.neuroglancer.shards import Sharding, ShardWriter
from lls_decode.outputs import command
from lls_decode.pipelines.cli import cli

from .conftest import GEOMETRY, MODEL, PLANES, random_columns, write_pieces, write_table

Columns = dict[str, np.ndarray[Any, Any]]
ROWS = 40_000


def values_of(folder: Path, sharding: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
    """Yield keys and values of a sharded store, read by its specification."""
    num = 1 << sharding["minishard_bits"]
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for minishard in range(num):
            start, stop = struct.unpack_from("<QQ", data, 16 * minishard)
            if start == stop:
                continue
            index = np.frombuffer(gzip.decompress(data[16 * num + start : 16 * num + stop]), "<u8").reshape(3, -1)
            key, place = 0, 16 * num
            for step, gap, size in index.T.tolist():
                key, place = key + step, place + gap
                hashed = key >> sharding["preshift_bits"]
                assert hashed & (num - 1) == minishard
                shard = hashed >> sharding["minishard_bits"]
                assert path.name == f"{shard:x}".zfill(-(-sharding["shard_bits"] // 4)) + ".shard"
                yield key, data[place : place + size]
                place += size


def cell_of(key: int, shape: list[int]) -> tuple[int, ...]:
    cell, place = [0] * len(shape), 0
    for bit in range(32):
        for axis, size in enumerate(shape):
            if (size - 1) >> bit:
                cell[axis] |= ((key >> place) & 1) << bit
                place += 1
    return tuple(cell)


def read_back(folder: Path) -> tuple[dict[str, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the info, all points in order of their ids, and the level of each point."""
    info = json.loads((folder / "info").read_text())
    types = {"float32": "<f4", "int32": "<i4"}
    dtype = np.dtype([("at", "<f4", (len(info["dimensions"]),)),
                      *((each["id"], types[each["type"]]) for each in info["properties"])])  # fmt: skip
    low, high = np.array(info["lower_bound"]), np.array(info["upper_bound"])
    points, ids, level_of = [], [], []
    for number, level in enumerate(info["spatial"]):
        np.testing.assert_array_equal(np.array(level["grid_shape"]) * level["chunk_size"], high - low)
        most = 0
        for key, value in values_of(folder / level["key"], level["sharding"]):
            (count,) = struct.unpack_from("<Q", value)
            assert len(value) == 8 + count * (dtype.itemsize + 8)
            found = np.frombuffer(value, dtype, count, 8)
            edge = low + np.array(cell_of(key, level["grid_shape"])) * level["chunk_size"]
            assert np.all((found["at"] >= edge) & (found["at"] <= edge + level["chunk_size"]))
            points.append(found)
            ids.append(np.frombuffer(value, "<u8", count, 8 + count * dtype.itemsize))
            level_of.append(np.full(count, number))
            most = max(most, count)
        assert most == level["limit"]
    order = np.argsort(np.concatenate(ids))
    np.testing.assert_array_equal(np.concatenate(ids)[order], np.arange(len(order)))
    points_in_order = np.concatenate(points)[order]
    single = dict(values_of(folder / "by_id", info["by_id"]["sharding"]))
    assert list(single) == list(range(len(order)))
    assert b"".join(single.values()) == points_in_order.tobytes()
    return info, points_in_order, np.concatenate(level_of)[order]


@pytest.mark.parametrize("geometry", [None, GEOMETRY], ids=["camera", "sample"])
def test_every_point_occurs_once_with_its_properties(tmp_path: Path, geometry: Any) -> None:
    columns = random_columns(ROWS)
    table = write_table(tmp_path / "t.parquet", columns, geometry=geometry, model=MODEL)
    made = export_table(table, tmp_path / "t.precomputed")
    assert made.format == "neuroglancer"
    info, points, level = read_back(made.path)
    assert info["dimensions"] == {axis: [1e-9, "m"] for axis in "xyz"}
    expected = dict(columns)
    if geometry is not None:
        places = (columns[name].astype(float) for name in ("x_nm", "y_nm", "z_nm"))
        x, y, z = (np.asarray(values) for values in geometry.to_sample(*places, columns["plane"]))
        along, deep = geometry.sample_sigmas(columns["x_sig"].astype(float), columns["z_sig"].astype(float))
        expected |= {"x_nm": x, "y_nm": y, "z_nm": z, "x_sig": along, "z_sig": deep}
    for number, axis in enumerate("xyz"):
        np.testing.assert_array_equal(points["at"][:, number], expected[f"{axis}_nm"].astype(np.float32))
    for name in points.dtype.names[1:]:
        np.testing.assert_array_equal(points[name], expected[name].astype(points.dtype[name]), err_msg=name)
    assert set(points.dtype.names[1:]) == set(columns) - {"x_nm", "y_nm"}
    assert level.max() >= 2
    assert np.array_equal(np.unique(level), np.arange(level.max() + 1))


def test_levels_are_uniform_samples_of_the_remaining_points(tmp_path: Path) -> None:
    """Each quarter has its share of each level, within five standard deviations of a binomial distribution."""
    table = write_table(tmp_path / "t.parquet", random_columns(ROWS), model=MODEL)
    info, points, level = read_back(export_table(table, tmp_path / "t.precomputed").path)
    quarter = (points["at"][:, 0] < 13_000).astype(int) * 2 + (points["at"][:, 1] < 13_000)
    left = np.ones(ROWS, bool)
    for number in range(level.max()):
        share = np.mean(level[left] == number)
        for each in range(4):
            here = left & (quarter == each)
            found, all_here = np.count_nonzero(level[here] == number), np.count_nonzero(here)
            assert abs(found - share * all_here) < 5 * np.sqrt(all_here * share * (1 - share))
        left &= level != number
    for entry in info["spatial"][:-1]:
        assert entry["limit"] < levels.CELL_POINTS * 1.1
    frames = np.sort(points["frame"][level == 0])
    assert abs(np.median(frames) - 300) < 30  # early and late rows are equally likely


def test_extremely_uneven_points_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If most rows share one position, levels end at the smallest cells, and sorting still fits into memory."""
    monkeypatch.setattr(levels, "CELL_POINTS", 200)
    monkeypatch.setattr(levels, "MOST_BITS", 6)
    monkeypatch.setattr("lls_decode.export.formats.neuroglancer._ROWS_AT_ONCE", 1000)
    columns = random_columns(8000)
    columns["x_nm"][:5000], columns["y_nm"][:5000], columns["z_nm"][:5000] = 100.0, 100.0, 0.0
    info, points, level = read_back(
        export_table(write_table(tmp_path / "t.parquet", columns), tmp_path / "t.precomputed").path
    )
    assert len(points) == 8000
    assert len(info["spatial"]) == level.max() + 1
    assert info["spatial"][-1]["limit"] > 1000


def test_one_distant_row_gives_limited_levels_and_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All other rows are then in one cell, which is split into levels that fit into memory."""
    monkeypatch.setattr(levels, "CELL_POINTS", 20)
    monkeypatch.setattr(levels, "MOST_POINTS", 3000)
    monkeypatch.setattr("lls_decode.export.formats.neuroglancer.CELL_POINTS", 20)
    columns = random_columns(20_000)
    columns["x_nm"][11] = columns["y_nm"][11] = 3e9
    columns["z_nm"][11] = 3e9
    table = write_table(tmp_path / "t.parquet", columns)
    info, points, level = read_back(export_table(table, tmp_path / "t.precomputed").path)
    assert len(points) == 20_000
    assert points["at"][11, 0] == np.float32(3e9)
    assert max(entry["limit"] for entry in info["spatial"]) < 3300
    assert info["spatial"][-1]["grid_shape"] == info["spatial"][-2]["grid_shape"]
    assert level.max() == len(info["spatial"]) - 1
    assert "filter them out first" in caplog.text
    assert "3000000" in caplog.text


def test_exported_files_do_not_depend_on_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = random_columns(9000)
    contents = []
    for name, group_rows, in_memory in (("one", 9000, 1_000_000), ("many", 700, 1000)):
        monkeypatch.setattr("lls_decode.export.formats.neuroglancer.sorting._RECORDS_IN_MEMORY", in_memory)
        folder = tmp_path / name
        folder.mkdir()
        table = write_pieces(folder / "t.parquet", group_rows=group_rows, **columns)
        out = export_table(table, folder / "t.precomputed").path
        contents.append({str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]


def test_a_table_without_z_has_two_axes(tmp_path: Path) -> None:
    columns = random_columns(500)
    columns |= {"z_nm": np.full(500, np.nan), "z_sig": np.full(500, np.nan), "group": np.full(500, -1)}
    columns |= {"volume": columns["frame"], "plane": 0 * columns["frame"]}
    table = write_table(tmp_path / "t.parquet", columns, planes_per_volume=1)
    info, points, _ = read_back(export_table(table, tmp_path / "t.precomputed").path)
    assert list(info["dimensions"]) == ["x", "y"]
    assert not {"z_nm", "z_sig", "group", "plane", "volume"} & set(points.dtype.names)


def test_rows_without_z_are_refused(tmp_path: Path) -> None:
    columns = random_columns(500)
    columns["z_nm"][3] = np.nan
    table = write_table(tmp_path / "t.parquet", columns)
    with pytest.raises(TableError, match="no z_nm in 1 of 500 rows"):
        export_table(table, tmp_path / "t.precomputed")
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.parametrize("shard_bits", [0, 1, 5])
def test_stores_with_any_number_of_shards_are_read_back(tmp_path: Path, shard_bits: int) -> None:
    sharding = Sharding(preshift_bits=2, minishard_bits=2, shard_bits=shard_bits)
    random = np.random.default_rng(1)
    keys = np.flatnonzero(random.random(1 << (4 + shard_bits)) < 0.4)
    values = [bytes([key % 256]) * int(random.integers(1, 9)) for key in keys]
    sizes = np.array([len(value) for value in values])
    with ShardWriter(tmp_path / "store", sharding) as writer:
        for some in np.array_split(np.arange(len(keys)), 3):
            writer.add(keys[some], sizes[some], b"".join(values[number] for number in some))
    found = list(values_of(tmp_path / "store", sharding.to_json()))
    assert found == list(zip(keys.tolist(), values, strict=True))


class TestOverwriting:
    @pytest.fixture
    def small(self, tmp_path: Path) -> Path:
        return write_table(tmp_path / "t.parquet", random_columns(100))

    def test_our_export_and_an_empty_folder_are_overwritten(self, small: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        for _ in range(2):
            export_table(small, out, format="neuroglancer")
            assert len(read_back(out)[1]) == 100
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "t.parquet"]

    @pytest.mark.parametrize("force", [False, True])
    def test_a_folder_with_other_files_is_never_overwritten(self, small: Path, tmp_path: Path, force: bool) -> None:
        out = tmp_path / "out"
        export_table(small, out, format="neuroglancer")
        (out / "notes.txt").write_text("mine")
        with pytest.raises(OutputError, match="holds something other"), command(force=force):
            export_table(small, out, format="neuroglancer")
        assert (out / "notes.txt").read_text() == "mine"
        assert (out / "info").exists()

    @pytest.mark.parametrize("force", [False, True])
    def test_a_file_is_never_overwritten(self, small: Path, tmp_path: Path, force: bool) -> None:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(OutputError, match="is a file"), command(force=force):
            export_table(small, tmp_path / "out", format="neuroglancer")
        assert (tmp_path / "out").read_text() == "mine"

    def test_annotations_of_other_programs_are_overwritten_by_force_only(self, small: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        export_table(small, out, format="neuroglancer")
        info = json.loads((out / "info").read_text())
        del info["written_by"]
        (out / "info").write_text(json.dumps(info))
        with pytest.raises(OutputError, match="--force"):
            export_table(small, out, format="neuroglancer")
        assert (
            CliRunner().invoke(cli, ["export", str(small), str(out), "--format", "neuroglancer", "--force"]).exit_code
            == 0
        )
        assert "written_by" in json.loads((out / "info").read_text())

    @pytest.mark.parametrize("force", [False, True])
    def test_the_folder_of_the_table_is_never_overwritten(self, small: Path, tmp_path: Path, force: bool) -> None:
        words = ["export", str(small), str(tmp_path), "--format", "neuroglancer", *(["--force"] if force else [])]
        result = CliRunner().invoke(cli, words)
        assert isinstance(result.exception, ConfigError)
        assert isinstance(result.exception, LlsDecodeError)
        assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]

    def test_one_command_cannot_export_twice_to_one_folder(self, small: Path, tmp_path: Path) -> None:
        with command():
            export_table(small, tmp_path / "out", format="neuroglancer")
            with pytest.raises(ConfigError, match="just been written"):
                export_table(small, tmp_path / "out", format="neuroglancer")


def test_planes_of_volumes_are_kept(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.parquet", random_columns(200))
    _, points, _ = read_back(export_table(table, tmp_path / "t.precomputed").path)
    np.testing.assert_array_equal(points["plane"], points["frame"] % PLANES)
