"""Joining tables keeps all rows, frames and channels apart, and records where each table came from."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import ConfigError, LlsDecodeError, TableError
from lls_decode.joining import join_tables
from lls_decode.molecules import debias, filter_table, link
from lls_decode.pipelines.cli import cli
from lls_decode.table import ChannelInfo, TableMetadata, read_metadata, read_table, schema, table_writer

PIXEL = PixelSize(x_nm=104.0, y_nm=108.0)
STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
TUBULIN, ACTIN = ChannelInfo(name="tubulin", excitation_nm=560), ChannelInfo(name="actin")


def write(path: Path, *, seed: int, planes: int = 5, volumes: int = 8, rows: int = 300, **about: Any) -> Path:
    """Write random localizations; ``columns`` replaces columns and may add ``channel``; the rest is metadata."""
    columns = about.pop("columns", {})
    random = np.random.default_rng(seed)
    geometry = about.get("geometry")
    canonical = schema(geometry is not None, "channel" in columns)
    frame = random.integers(0, planes * volumes, rows)
    values = {name: random.uniform(1, 9000, rows) for name in canonical.names}
    values |= {"frame": frame, "volume": frame // planes, "plane": frame % planes, "group": np.full(rows, -1)}
    values |= columns
    table = pa.table([pa.array(values[f.name].astype(f.type.to_pandas_dtype())) for f in canonical], canonical)
    table = table.sort_by([(name, "ascending") for name in ("volume", "plane", "y_nm", "x_nm")])
    metadata = TableMetadata(**{"pixel_size": PIXEL, "planes_per_volume": planes, **about})
    with table_writer(path, canonical, metadata) as writer:
        for start in range(0, rows, 70):
            writer.write(table.slice(start, 70))
    pq.write_table(pq.read_table(path), path, row_group_size=64)
    return path


def plain(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata(None).combine_chunks()


@pytest.mark.parametrize("geometry", [None, STAGE], ids=["movie", "stage scan"])
def test_frames_of_joined_tables_are_consecutive(geometry: Geometry | None, tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", seed=1, num_frames=60, geometry=geometry, lost_frames=[[3, 5]])
    two = write(tmp_path / "two.parquet", seed=2, geometry=geometry, lost_frames=[[0, 2]])  # rows in 8 volumes
    three = write(tmp_path / "three.parquet", seed=3, geometry=geometry, num_frames=40)
    made = join_tables([one, two, three], tmp_path / "all.parquet")
    rows, metadata = read_table(made.path)
    start = 0
    for path, first in ((one, 0), (two, 60), (three, 100)):
        alone = read_table(path)[0]
        mine = rows.slice(start, alone.num_rows)
        start += alone.num_rows
        for name in alone.column_names:
            moved = alone[name].to_numpy().astype(np.int64 if name in ("frame", "volume") else None)
            moved = moved + {"frame": first, "volume": first // 5}.get(name, 0)
            np.testing.assert_array_equal(mine[name].to_numpy(), moved, err_msg=name)
    assert (start, made.num_rows) == (rows.num_rows, rows.num_rows)
    assert metadata.num_frames == made.num_frames == 140
    assert metadata.lost_frames == ((3, 5), (60, 62))
    assert not metadata.has_channels
    assert np.all(np.diff(rows["frame"].to_numpy().astype(int)) >= 0)


def test_the_history_describes_every_joined_table(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", seed=1, num_frames=40, run_digest="feed", model_digest="m")
    two = write(tmp_path / "two.parquet", seed=2, num_frames=40, run_digest="beef", model_digest="m")
    filter_table(two, tmp_path / "kept.parquet", where="x_nm < 4000")
    join_tables([one, tmp_path / "kept.parquet"], tmp_path / "all.parquet")
    metadata = read_metadata(tmp_path / "all.parquet")
    [step] = metadata.history
    first, second = step["inputs"]
    assert (step["step"], first["name"], second["name"]) == ("join", "one.parquet", "kept.parquet")
    assert first["digest"] == hashlib.sha256(one.read_bytes()).hexdigest()
    assert (first["first_frame"], second["first_frame"], first["rows"]) == (0, 40, 300)
    assert [item["step"] for item in second["history"]] == ["filter"]
    assert (first["run_digest"], second["run_digest"]) == ("feed", "beef")
    assert (metadata.run_digest, metadata.model_digest) == (None, "m")
    assert len(metadata.steps("filter")) == 1


def test_joined_molecules_keep_distinct_numbers(tmp_path: Path) -> None:
    still = {"x_nm": np.repeat(np.arange(30) * 2000.0, 10), "y_nm": np.full(300, 5.0), "z_nm": np.zeros(300),
             "x_sig": np.full(300, 10.0), "y_sig": np.full(300, 10.0), "z_sig": np.full(300, 10.0),
             "frame": np.tile(np.arange(10), 30), "volume": np.tile(np.arange(10), 30),
             "plane": np.zeros(300)}  # fmt: skip
    for name in "ab":
        write(tmp_path / f"{name}.parquet", seed=4, planes=1, volumes=10, columns=still)
        link(tmp_path / f"{name}.parquet", out=tmp_path / name)
    rows = join_tables([tmp_path / n / f"{n}.parquet" for n in "ab"], tmp_path / "rows.parquet")
    molecules = join_tables([tmp_path / n / "molecules.parquet" for n in "ab"], tmp_path / "molecules.parquet")
    found, metadata = read_table(molecules.path)
    assert metadata.kind == "molecules"
    assert sorted(found["group"].to_pylist()) == list(range(60))
    seen = read_table(rows.path)[0].to_pandas().groupby("group").frame.agg(["min", "max", "size"])
    expected = found.to_pandas().set_index("group").sort_index()
    np.testing.assert_array_equal(seen["min"], expected["frame"])
    np.testing.assert_array_equal(seen["max"], expected["last_frame"])
    np.testing.assert_array_equal(seen["size"], expected["num_frames"])
    assert (seen["min"] == np.repeat([0, 10], 30)).all()


@pytest.mark.parametrize("kind", ["localizations", "molecules"])
def test_channels_of_the_same_frames_are_interleaved_by_frame(kind: str, tmp_path: Path) -> None:
    paths = []
    for name, info, seed in (("a", TUBULIN, 5), ("b", ACTIN, 6)):
        path = write(tmp_path / f"{name}.parquet", seed=seed, planes=1, volumes=40, channels=[info])
        made = link(path, out=tmp_path / name)
        paths.append(made.localizations if kind == "localizations" else made.molecules)
    joined = join_tables(paths, tmp_path / "all.parquet", same_frames=True)
    rows, metadata = read_table(joined.path)
    assert (metadata.num_frames, metadata.channels, joined.channels) == (40, (TUBULIN, ACTIN), ("tubulin", "actin"))
    keys = ("frame", "y_nm", "x_nm") if kind == "localizations" else ("last_frame", "group")
    found = plain(rows)
    assert found.equals(plain(rows.sort_by([(name, "ascending") for name in keys])))
    offset = 0
    for number, path in enumerate(paths):
        alone = read_table(path)[0]
        mine = found.filter(pa.compute.equal(found["channel"], number))
        assert plain(mine.drop_columns(["channel", "group"])).equals(plain(alone.drop_columns("group")))
        assert (np.asarray(mine["group"]) - np.asarray(alone["group"]) == offset).all()
        offset += int(np.asarray(alone["group"]).max()) + 1


KNOWN = {
    "the same channel twice": ([[TUBULIN], [TUBULIN]], None, None, ((0,), (0,)), ("tubulin",)),
    "two channels": ([[TUBULIN], [ACTIN]], None, None, ((0,), (1,)), ("tubulin", "actin")),
    "unknown channels": ([[], []], None, None, ((0,), (0,)), ()),
    "names from the command": ([[], []], None, ["R1", "R2"], ((0,), (1,)), ("R1", "R2")),
    "equal names from the command": ([[], []], None, ["R1", "R1"], ((0,), (0,)), ("R1",)),
    "channel columns in another order": (
        [[TUBULIN, ACTIN], [ACTIN, TUBULIN]], [[0, 1], [0, 1]], None, ((0, 1), (0, 1)), ("tubulin", "actin")
    ),
    "a third channel": (
        [[TUBULIN, ACTIN], [ChannelInfo(name="c")]], [[0, 1], None], None, ((0, 1), (2,)), ("tubulin", "actin", "c")
    ),
    "channel columns without names": ([[], []], [[0, 3], [0, 1]], None, ((0, 3), (0, 4)), ()),
}  # fmt: skip


@pytest.mark.parametrize(("infos", "columns", "names", "expected", "labels"), KNOWN.values(), ids=KNOWN.keys())
def test_channels_are_matched_by_name(
    infos: Any, columns: Any, names: Any, expected: Any, labels: tuple[str, ...], tmp_path: Path
) -> None:
    paths = []
    for place, info in enumerate(infos):
        own = columns[place] if columns else None
        more = {} if own is None else {"columns": {"channel": np.resize(own, 300)}}
        paths.append(write(tmp_path / f"{place}.parquet", seed=place, channels=info, **more))
    made = join_tables(paths, tmp_path / "all.parquet", channels=names)
    assert tuple(given.channels for given in made.inputs) == expected
    rows, metadata = read_table(made.path)
    assert tuple(info.name for info in metadata.channels) == labels
    several = len({number for numbers in expected for number in numbers}) > 1
    assert metadata.has_channels == several
    if columns and columns[0] and labels == ("tubulin", "actin"):  # by name, not by number
        second = rows.slice(300)["channel"].to_numpy()
        np.testing.assert_array_equal(second, 1 - read_table(paths[1])[0]["channel"].to_numpy())


def test_filtering_one_channel_of_a_joined_table_restores_its_input(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.parquet", seed=i, channels=[info]) for i, info in enumerate((TUBULIN, ACTIN))]
    made = join_tables(paths, tmp_path / "all.parquet", same_frames=True)
    filter_table(made.path, tmp_path / "back.parquet", where="channel=1")
    back, metadata = read_table(tmp_path / "back.parquet")
    assert plain(back.drop_columns("channel")).equals(plain(read_table(paths[1])[0]))
    assert metadata.channel_label(1) == "actin"


def test_two_dimensional_tables_among_others_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deep = write(tmp_path / "deep.parquet", seed=1)
    flat = write(tmp_path / "flat.parquet", seed=2, columns={"z_nm": np.zeros(300)})
    join_tables([deep, flat], tmp_path / "both.parquet")
    assert f"Two-dimensional: {flat}." in caplog.text
    caplog.clear()
    join_tables([deep, write(tmp_path / "other.parquet", seed=3)], tmp_path / "deep_both.parquet")
    assert not caplog.text


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "pixel": ({"pixel_size": PixelSize(x_nm=100, y_nm=100)}, {}, "differ in pixel size .*x_nm 104.0.*x_nm 100.0"),
    "planes": ({"planes": 4}, {}, "differ in planes per volume .5 and 4."),
    "no planes": ({"planes": 1, "planes_per_volume": None}, {}, "differ in planes per volume .5 and 1."),
    "geometry": ({"geometry": STAGE}, {}, "differ in the columns xs_nm, ys_nm, zs_nm"),
    "one unnamed channel": ({}, {"first": {"channels": [ACTIN]}}, "does not state its channel.*--channels"),
    "only one has a column": ({"columns": {"channel": np.zeros(300)}}, {}, "does not state its channel"),
    "too few names": ({}, {"channels": ["a"]}, "1 names of channels"),
    "same channel, same frames": (
        {"channels": [ACTIN]}, {"first": {"channels": [ACTIN]}, "same_frames": True}, "both have channel 'actin'"
    ),
    "names for a column": (
        {"columns": {"channel": np.zeros(300)}}, {"channels": ["a", "b"]}, "has several channels.*channel=0"
    ),
    "too many frames": ({"num_frames": 2**32 - 5}, {"first": {"num_frames": 100}}, "largest number is 4294967295"),
}  # fmt: skip


@pytest.mark.parametrize(("second", "options", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_tables_that_do_not_match_are_refused(
    second: dict[str, Any], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    options = dict(options)
    one = write(tmp_path / "one.parquet", seed=1, **options.pop("first", {}))
    two = write(tmp_path / "two.parquet", seed=2, **second)
    with pytest.raises(LlsDecodeError, match=says):
        join_tables([one, two], tmp_path / "all.parquet", **options)
    assert not (tmp_path / "all.parquet").exists()


def test_invalid_combinations_of_inputs_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", seed=1, planes=1)
    two = write(tmp_path / "two.parquet", seed=2, planes=1)
    molecules = link(two, out=tmp_path / "linked").molecules
    with pytest.raises(TableError, match=r"table of localizations and .* one of molecules"):
        join_tables([one, molecules], tmp_path / "all.parquet")
    with pytest.raises(ConfigError, match="given twice"):
        join_tables([one, two, one], tmp_path / "all.parquet")
    with pytest.raises(ConfigError, match="one table to join"):
        join_tables([one], tmp_path / "all.parquet")
    with pytest.raises(ConfigError, match=r"which would overwrite it|read by this command"):
        join_tables([one, two], two)
    rows, metadata = read_table(two)
    with table_writer(tmp_path / "mixed.parquet", rows.schema.remove_metadata(), metadata) as writer:
        writer.write(rows.take(np.random.default_rng(0).permutation(len(rows))))
    with pytest.raises(TableError, match=r"not sorted by frame.*lls-decode import"):
        join_tables([one, tmp_path / "mixed.parquet"], tmp_path / "all.parquet", same_frames=True)


def test_the_history_of_joined_tables_prevents_invalid_steps(tmp_path: Path) -> None:
    """A step that must not follow linking is refused if one of the joined tables was linked."""
    path = write(tmp_path / "a.parquet", seed=1, planes=1)
    link(path, out=tmp_path / "linked")
    other = write(tmp_path / "b.parquet", seed=2, planes=1)
    join_tables([tmp_path / "linked" / "a.parquet", other], tmp_path / "all.parquet")
    with pytest.raises(TableError, match="has been processed by 'link'"):
        debias(tmp_path / "all.parquet", tmp_path / "even.parquet")


def test_the_join_command_reports_frames_and_channels(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.parquet", seed=i, num_frames=40) for i in range(2)]
    words = ["join", *map(str, paths), "--out", str(tmp_path / "all.parquet"), "--channels", "R1, R2"]
    said = CliRunner().invoke(cli, words)
    assert said.exit_code == 0, said.output
    assert "1.parquet: 300 rows, frames 40 to 79, R2" in said.output
    assert "all.parquet: 600 rows, 80 frames" in said.output
    told = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert [given["first_frame"] for given in told["inputs"]] == [0, 40]
    shown = CliRunner().invoke(cli, ["inspect", str(tmp_path / "all.parquet")])
    assert shown.exit_code == 0, shown.output
    assert "of 0.parquet, 1.parquet" in shown.output
    assert "R1" in shown.output
