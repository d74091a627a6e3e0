"""Merging shards into one ordered table with metadata, and reading such tables."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.axes import Layout
from lls_decode.blocks import Block, expand_ranges, plan_blocks
from lls_decode.config import Geometry, PixelSize, ScmosCamera
from lls_decode.errors import OutputError, ShardError, TableError
from lls_decode.table import (
    CHANNEL_COLUMN,
    COLUMNS,
    ROW_GROUP_ROWS,
    SORT_COLUMNS,
    TABLE_VERSION,
    ChannelInfo,
    TableMetadata,
    iter_tables,
    merge_shards,
    read_emitters,
    read_metadata,
    read_table,
    schema,
    software_versions,
    table_writer,
    write_shard,
)

MakeRows = Callable[..., pa.Table]
DIGEST = "0123456789abcdef"
METADATA = TableMetadata(
    pixel_size=PixelSize(x_nm=104, y_nm=108),
    geometry=Geometry(motion="stage", stage_step_nm=300, angle_deg=31.5),
    camera=ScmosCamera(offset_adu=100, gain_adu_per_e=0.5, variance_adu2="maps/variance.npy"),
    planes_per_volume=10,
    model_digest="feed",
    configuration={"detection": {"rule": "paper"}},
    software=software_versions(),
    input={"path": "a.zarr"},
)


@pytest.fixture
def shards(tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows) -> Path:
    """Write all shards of the plan in reverse order, with no rows in block 3, and return their folder."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for block in reversed(blocks):
        write_shard(make_rows(block, 0 if block.index == 3 else 100 + block.index), block, folder, run_digest=DIGEST)
    return folder


def test_a_merged_table_has_all_rows_in_order(
    tmp_path: Path, shards: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    out = tmp_path / "localizations.parquet"
    manifest = merge_shards(shards, blocks[::-1], out, run_digest=DIGEST, metadata=METADATA)
    expected = pa.concat_tables(make_rows(b, 0 if b.index == 3 else 100 + b.index) for b in blocks)
    expected = expected.sort_by([(name, "ascending") for name in SORT_COLUMNS])
    table, metadata = read_table(out)
    assert table.replace_schema_metadata(None).equals(expected)
    assert (manifest.rows, manifest.num_blocks, manifest.missing_blocks) == (len(expected), 6, ())
    assert manifest.bytes == out.stat().st_size
    assert metadata.run_digest == manifest.run_digest == DIGEST
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["localizations.parquet"]


def test_merging_twice_gives_the_same_bytes(tmp_path: Path, shards: Path, blocks: tuple[Block, ...]) -> None:
    for name in ("a.parquet", "b.parquet"):
        merge_shards(shards, blocks, tmp_path / name, run_digest=DIGEST, metadata=METADATA)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_missing_blocks_are_named(tmp_path: Path, shards: Path, blocks: tuple[Block, ...]) -> None:
    (shards / "b000001.parquet").unlink()
    (shards / "b000004.parquet").write_bytes(b"PAR1")
    out = tmp_path / "out.parquet"
    with pytest.raises(ShardError, match=r"no valid shard for 2 of 6 blocks: b000001, b000004 \(.*cannot be read"):
        merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA)
    assert not out.exists()
    manifest = merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA, allow_missing=True)
    assert manifest.missing_blocks == read_metadata(out).missing_blocks == ("b000001", "b000004")
    assert sorted(set(read_table(out)[0]["volume"].to_pylist())) == [0, 2, 5]
    # the frames of an empty block count as covered, those of a missing block do not
    covered = expand_ranges(read_metadata(out).frames or ())
    done = [block.owned_frames for block in blocks if block.index not in (1, 4)]
    assert covered.tolist() == sorted(np.concatenate(done).tolist())


def test_merging_refuses_shards_of_another_run(tmp_path: Path, shards: Path, blocks: tuple[Block, ...]) -> None:
    with pytest.raises(ShardError, match=r"for 6 of 6 blocks.*of another run"):
        merge_shards(shards, blocks, tmp_path / "out.parquet", run_digest="other", metadata=METADATA)


def test_a_damaged_shard_stops_the_merge_and_keeps_the_old_table(
    tmp_path: Path, shards: Path, blocks: tuple[Block, ...]
) -> None:
    out = tmp_path / "out.parquet"
    merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA)
    before = out.read_bytes()
    path = shards / "b000002.parquet"
    flipped = bytearray(path.read_bytes())
    flipped[1000] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(ShardError, match=r"b000002\.parquet"):
        merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA)
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["out.parquet"]


def test_merging_refuses_shards_with_different_columns(
    tmp_path: Path, shards: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    for other in ({"with_sample": False}, {"with_channel": True}):
        write_shard(make_rows(blocks[5], 10, **other), blocks[5], shards, run_digest=DIGEST)
        with pytest.raises(ShardError, match=r"b000005\.parquet has columns"):
            merge_shards(shards, blocks, tmp_path / "out.parquet", run_digest=DIGEST, metadata=METADATA)


def test_channels_are_merged(tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows) -> None:
    parts = [make_rows(block, 50, with_channel=True) for block in blocks]
    for block, part in zip(blocks, parts, strict=True):
        write_shard(part, block, tmp_path, run_digest=DIGEST)
    channels = (ChannelInfo(name="a"), ChannelInfo(), ChannelInfo(emission_nm=640.0))
    out = tmp_path / "out.parquet"
    merge_shards(tmp_path, blocks, out, run_digest=DIGEST, metadata=METADATA.replace(channels=channels))
    rows, metadata = read_table(out)
    assert rows.column_names == [column.name for column in COLUMNS]
    assert sorted(rows["channel"].to_pylist()) == sorted(n for part in parts for n in part["channel"].to_pylist())
    assert metadata.has_channels
    assert metadata.channels == channels
    assert [metadata.channel_label(number) for number in range(4)] == ["a", "channel 1", "640 nm", "channel 3"]


def test_a_merge_on_a_full_disk_fails_and_leaves_no_file(small_disk: Path, tmp_path: Path, make_rows: MakeRows) -> None:
    plan = plan_blocks(Layout(4, 10, 32, 32), "plane", 10)
    shards = tmp_path / "shards"
    shards.mkdir()
    for block in plan:
        write_shard(make_rows(block, 2000), block, shards, run_digest=DIGEST)
    with pytest.raises(OutputError, match="the disk is full"):
        merge_shards(shards, plan, small_disk / "out.parquet", run_digest=DIGEST, metadata=METADATA)
    assert not list(small_disk.iterdir())


def test_row_groups_have_one_size_whatever_pieces_are_written(tmp_path: Path) -> None:
    columns = pa.schema([pa.field("plane", pa.uint16(), nullable=False)])
    total = 2 * ROW_GROUP_ROWS + 1234
    sizes = [10, 0, ROW_GROUP_ROWS - 10, 5, total - ROW_GROUP_ROWS - 5]
    value = pa.array((np.arange(total) % 60_000).astype(np.uint16))
    out = tmp_path / "t.parquet"
    with table_writer(out, columns, TableMetadata()) as writer:
        start = 0
        for size in sizes:
            writer.write(pa.table([value[start : start + size]], schema=columns))
            start += size
    footer = pq.read_metadata(out)
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [ROW_GROUP_ROWS] * 2 + [1234]
    assert pq.read_table(out)["plane"].combine_chunks().equals(value)
    assert [piece.num_rows for piece in iter_tables(out)] == [ROW_GROUP_ROWS] * 2 + [1234]


def test_a_failing_writer_leaves_no_file(tmp_path: Path) -> None:
    def write_half() -> None:
        with table_writer(tmp_path / "t.parquet", schema(True), TableMetadata()):
            raise KeyError("an error of the caller")

    with pytest.raises(KeyError, match="an error of the caller"):
        write_half()
    assert not list(tmp_path.iterdir())


def test_columns_are_stored_with_the_expected_types_and_encodings(
    tmp_path: Path, shards: Path, blocks: tuple[Block, ...]
) -> None:
    out = tmp_path / "out.parquet"
    merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA)
    file = pq.ParquetFile(out)
    group = file.metadata.row_group(0)
    columns = [column for column in COLUMNS if column is not CHANNEL_COLUMN]
    assert file.schema_arrow.names == [column.name for column in columns]
    for number, column in enumerate(columns):
        stored = group.column(number)
        assert file.schema_arrow.field(number).type == column.type
        assert stored.compression == "ZSTD"
        assert stored.has_dictionary_page == pa.types.is_integer(column.type)
        assert ("BYTE_STREAM_SPLIT" in stored.encodings) == pa.types.is_floating(column.type)
        assert stored.statistics.has_min_max
    assert [file.schema_arrow.names[c.column_index] for c in group.sorting_columns] == list(SORT_COLUMNS)


# Metadata


def test_pandas_reads_the_metadata_as_attributes(tmp_path: Path, shards: Path, blocks: tuple[Block, ...]) -> None:
    out = tmp_path / "out.parquet"
    merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA)
    frame = pd.read_parquet(out)
    attrs = frame.attrs["lls_decode"]
    assert attrs["version"] == list(TABLE_VERSION)
    assert attrs["pixel_size"] == {"x_nm": 104.0, "y_nm": 108.0}
    assert attrs["columns"]["bg"]["unit"] == "photons/pixel"
    assert attrs["camera"]["kind"] == "scmos"
    assert frame.dtypes["frame"] == np.uint32
    assert json.loads(pq.read_schema(out).metadata[b"lls_decode"]) == attrs


def test_metadata_round_trip(tmp_path: Path, shards: Path, blocks: tuple[Block, ...]) -> None:
    out = tmp_path / "out.parquet"
    merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA)
    found = read_metadata(out)
    frames = ((0, sum(block.num_owned for block in blocks)),)
    assert found == METADATA.replace(run_digest=DIGEST, frames=frames).with_columns(schema(True))
    assert found.geometry is not None
    assert found.geometry.whole_shift_px(PixelSize(x_nm=100, y_nm=100)) == 3
    assert found.with_step("filter", prob_min=0.5).history == ({"step": "filter", "prob_min": 0.5},)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            '{"version":[2,0]}', r"version 2\.0, but this program reads version 1\.x", id="newer major version"
        ),
        pytest.param('{"version":[0,9]}', r"version 0\.9", id="older major version"),
        pytest.param('{"version":"new"}', "damaged metadata", id="version is text"),
        pytest.param("{", "damaged metadata", id="not JSON"),
        pytest.param('{"version":[1,0],"pixel_size":{"x_nm":-1,"y_nm":1}}', "pixel_size.x_nm", id="impossible value"),
        pytest.param(None, "no metadata under the key 'lls_decode'", id="table of another program"),
    ],
)
def test_unknown_versions_and_damaged_metadata_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    table = schema(False).empty_table()
    path = tmp_path / "t.parquet"
    pq.write_table(table.replace_schema_metadata({b"lls_decode": text.encode()} if text else None), path)
    readers = [read_metadata, read_table, lambda p: list(iter_tables(p))]
    for reader in readers + ([read_emitters] if text else []):
        with pytest.raises(TableError, match=message):
            reader(path)


def test_a_newer_minor_version_is_read(tmp_path: Path) -> None:
    table = schema(False).empty_table()
    path = tmp_path / "t.parquet"
    pq.write_table(table.replace_schema_metadata({b"lls_decode": b'{"version":[1,7],"mood":"good"}'}), path)
    assert read_metadata(path).version == (1, 7)


# Reading


def test_columns_are_read_by_name_and_typing_errors_get_a_suggestion(
    tmp_path: Path, shards: Path, blocks: tuple[Block, ...]
) -> None:
    out = tmp_path / "out.parquet"
    merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA)
    assert read_table(out, ["z_nm", "frame"])[0].column_names == ["z_nm", "frame"]
    with pytest.raises(TableError, match=r"no column 'x_nn' \(did you mean 'x_nm'\?\)"):
        read_table(out, ["x_nn"])


def test_emitters_are_read_from_a_table(tmp_path: Path, shards: Path, blocks: tuple[Block, ...]) -> None:
    out = tmp_path / "out.parquet"
    merge_shards(shards, blocks, out, run_digest=DIGEST, metadata=METADATA)
    found, table = read_emitters(out), pq.read_table(out)
    assert np.array_equal(found.frame, table["frame"].to_numpy())
    assert np.array_equal(found.x_sig, table["x_sig"].to_numpy())
    assert set(found.id.tolist()) == {-1}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"frame": [0], "x_nm": [1.0]}, "no column 'y_nm'"),
        ({"frame": [None], "x_nm": [1.0], "y_nm": [1.0]}, "of type null"),
        ({"frame": [0, None], "x_nm": [1.0, 1.0], "y_nm": [1.0, 1.0]}, "not a whole number"),
        ({"frame": [0.5], "x_nm": [1.0], "y_nm": [1.0]}, "not a whole number"),
        ({"frame": [-1], "x_nm": [1.0], "y_nm": [1.0]}, "not a whole number"),
        ({"frame": ["a"], "x_nm": [1.0], "y_nm": [1.0]}, "of type string, expected numbers"),
    ],
)
def test_tables_without_valid_emitters_are_refused(tmp_path: Path, columns: dict, message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(TableError, match=message):
        read_emitters(tmp_path / "t.parquet")


def test_files_that_are_not_parquet_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"hello")
    with pytest.raises(TableError, match="cannot be read as a Parquet table"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(TableError, match="is not a file"):
        read_table(tmp_path / "absent.parquet")
