"""Shards are complete or absent, belong to one run and are verified, whatever happens on a shared file system."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.blocks import Block
from lls_decode.errors import OutputError, ShardError
from lls_decode.table import (
    SORT_COLUMNS,
    read_receipt,
    remove_leftovers,
    scan_shards,
    schema,
    verify_shard,
    write_shard,
)
from lls_decode.table.files import temporary_beside
from lls_decode.table.shards import read_shard

MakeRows = Callable[..., pa.Table]
DIGEST = "0123456789abcdef"


def test_a_receipt_read_from_disk_equals_the_one_returned_by_the_writer(
    tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    receipt = write_shard(make_rows(blocks[2], 500), blocks[2], tmp_path, run_digest=DIGEST, stats={"saturated": 3.0})
    path = tmp_path / "b000002.parquet"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert read_receipt(path) == verify_shard(path) == receipt
    assert (receipt.block_index, receipt.block_id, receipt.rows) == (2, "b000002", 500)
    assert receipt.bytes == path.stat().st_size
    assert receipt.stats["saturated"] == 3.0
    assert receipt.stats["mean_photons"] == pytest.approx(pq.read_table(path)["photons"].to_numpy().mean(), rel=1e-5)


@pytest.mark.parametrize("with_channel", [True, False])
@pytest.mark.parametrize("with_sample", [True, False])
def test_rows_are_stored_sorted(
    tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows, with_sample: bool, with_channel: bool
) -> None:
    table = make_rows(blocks[0], 2000, with_sample=with_sample, with_channel=with_channel)
    write_shard(table, blocks[0], tmp_path, run_digest=DIGEST)
    found = pq.read_table(tmp_path / "b000000.parquet")
    expected = table.sort_by([(name, "ascending") for name in SORT_COLUMNS])
    assert found.replace_schema_metadata(None).equals(expected)
    assert all(not field.nullable for field in found.schema)
    assert found.schema.field("x_nm").metadata[b"unit"] == b"nm"


def test_equal_rows_give_equal_bytes_in_any_order(
    tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    table = make_rows(blocks[0], 1000)
    # many rows share one position, as duplicated detections do
    place = pa.array(np.repeat(np.float32([1, 2]), 500))
    for name in ("x_nm", "y_nm"):
        table = table.set_column(table.column_names.index(name), table.schema.field(name), place)
    shuffled = table.take(np.random.default_rng(0).permutation(1000))
    for name, rows in (("a", table), ("b", shuffled), ("c", pa.concat_tables([shuffled[:300], shuffled[300:]]))):
        (tmp_path / name).mkdir()
        write_shard(rows, blocks[0], tmp_path / name, run_digest=DIGEST)
    first, *others = (tmp_path / name / "b000000.parquet" for name in "abc")
    assert all(other.read_bytes() == first.read_bytes() for other in others)


def test_a_block_without_detections_has_a_valid_shard(tmp_path: Path, blocks: tuple[Block, ...]) -> None:
    receipt = write_shard(schema(True).empty_table(), blocks[1], tmp_path, run_digest=DIGEST)
    assert verify_shard(tmp_path / receipt.file_name) == receipt
    assert scan_shards(tmp_path, blocks, run_digest=DIGEST) == ({1: receipt}, [])


def test_writing_a_shard_twice_leaves_one_file(tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows) -> None:
    rows = make_rows(blocks[0], 100)
    assert write_shard(rows, blocks[0], tmp_path, run_digest=DIGEST) == write_shard(
        rows, blocks[0], tmp_path, run_digest=DIGEST
    )
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda t: t.drop_columns(["prob"]), "have schema", id="column missing"),
        pytest.param(lambda t: t.cast(_nullable(t.schema)), "have schema", id="nullable"),
        pytest.param(lambda t: _with(t, "volume", 3), "does not own", id="volume of another block"),
        pytest.param(lambda t: _with(t, "plane", 10), "does not own", id="plane beyond the sweep"),
    ],
)
def test_invalid_rows_are_refused(
    tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows, damage: Callable[[pa.Table], pa.Table], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_shard(damage(make_rows(blocks[0], 10)), blocks[0], tmp_path, run_digest=DIGEST)
    assert not list(tmp_path.iterdir())


def _nullable(canonical: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in canonical])


def _with(table: pa.Table, name: str, value: int) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(
        table.column_names.index(name), field, pa.array(np.full(len(table), value, field.type.to_pandas_dtype()))
    )


# Damage and interruptions


def test_every_truncation_is_detected(tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows) -> None:
    write_shard(make_rows(blocks[0], 50), blocks[0], tmp_path, run_digest=DIGEST)
    path = tmp_path / "b000000.parquet"
    whole = path.read_bytes()
    for length in [0, 1, 4, 8, *range(12, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ShardError, match=r"b000000\.parquet cannot be read as a shard"):
            read_receipt(path)
        assert scan_shards(tmp_path, blocks, run_digest=DIGEST)[0] == {}


def test_bytes_lost_in_the_middle_are_detected(tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows) -> None:
    write_shard(make_rows(blocks[0], 50), blocks[0], tmp_path, run_digest=DIGEST)
    path = tmp_path / "b000000.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + whole[201:])
    with pytest.raises(ShardError, match="is damaged"):
        read_receipt(path)


WRITTEN = sorted((Path(__file__).parent / "shards").glob("*.parquet"))
"""Files of the same shard, written by an old and a recent version of Arrow."""


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_shards_of_other_arrow_versions_are_accepted(path: Path, tmp_path: Path) -> None:
    """Arrow before version 18 writes additional bytes between data and footer, which do not count as damage."""
    receipt = verify_shard(path)
    assert (receipt.block_id, receipt.rows) == ("b000004", 5)
    assert read_shard(path).equals(read_shard(WRITTEN[0]))


@pytest.mark.parametrize("lost", [1, 2, 60, 97, 98, 200])
@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_bytes_lost_from_a_shard_of_another_arrow_version_are_detected(path: Path, tmp_path: Path, lost: int) -> None:
    whole, damaged = path.read_bytes(), tmp_path / "b000004.parquet"
    damaged.write_bytes(whole[:300] + whole[300 + lost :])
    with pytest.raises(ShardError, match="is damaged"):
        read_receipt(damaged)


def test_a_flipped_bit_never_gives_wrong_rows(tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows) -> None:
    """A flipped bit is detected, unless it changes no row because it is in statistics or in the writer's name."""
    write_shard(make_rows(blocks[0], 40), blocks[0], tmp_path, run_digest=DIGEST)
    path = tmp_path / "b000000.parquet"
    whole, rows, receipt = path.read_bytes(), pq.read_table(path), read_receipt(path)
    random = np.random.default_rng(0)
    found = 0
    for place in range(0, len(whole), 11):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            verified = verify_shard(path)
        except ShardError:
            found += 1
            continue
        assert replace(verified, stats={}, run_digest="") == replace(receipt, stats={}, run_digest=""), place
        assert pq.read_table(path).equals(rows), place
    assert found > 0.5 * len(range(0, len(whole), 11))


def test_a_flipped_data_bit_is_detected_by_verification_but_not_by_the_footer(
    tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    write_shard(make_rows(blocks[0], 5000), blocks[0], tmp_path, run_digest=DIGEST)
    path = tmp_path / "b000000.parquet"
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    read_receipt(path)
    with pytest.raises(ShardError, match="delete it and rerun"):
        verify_shard(path)


def test_a_scan_gives_the_reason_for_every_rejected_file(
    tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    def write(block: Block, digest: str = DIGEST) -> Path:
        return tmp_path / write_shard(make_rows(block, 20), block, tmp_path, run_digest=digest).file_name

    write(blocks[0])
    write(blocks[1], digest="another")
    os.replace(write(blocks[2]), tmp_path / "b000003.parquet")
    (tmp_path / "b000004.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b000005.parquet")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".tmp-b000001-aa.parquet").write_bytes(b"")
    receipts, reasons = scan_shards(tmp_path, blocks, run_digest=DIGEST)
    assert list(receipts) == [0]
    assert len(reasons) == 5
    for part in (
        "notes.txt: not a shard of this plan",
        "b000001.parquet: shard of another run (digest another, expected 0123456789abcdef)",
        "b000003.parquet: shard of another plan",
        "b000004.parquet cannot be read as a shard",
        "b000005.parquet is not a shard of lls-decode",
    ):
        assert any(part in reason for reason in reasons), part


def test_a_scan_of_a_missing_folder_finds_nothing(tmp_path: Path, blocks: tuple[Block, ...]) -> None:
    assert scan_shards(tmp_path / "shards", blocks, run_digest=DIGEST) == ({}, [])


def test_a_shard_of_a_newer_version_is_refused(tmp_path: Path, blocks: tuple[Block, ...]) -> None:
    footer = b'{"version":[2,0],"block":{},"run_digest":"x","rows":0,"crc32":0,"stats":{}}'
    table = schema(False).empty_table().replace_schema_metadata({b"lls_decode_shard": footer})
    pq.write_table(table, tmp_path / "b000000.parquet")
    with pytest.raises(ShardError, match="version 2, but this program reads version 1"):
        read_receipt(tmp_path / "b000000.parquet")


_KILLED = """
import sys, time
from pathlib import Path
import numpy as np, pyarrow as pa
from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.table import schema, write_shard
folder = Path(sys.argv[1])
block = plan_blocks(Layout(1, 1, 32, 32), "none", 1)[0]
n = 400_000
random = np.random.default_rng(0)
table = pa.table(
    [pa.array((random.uniform(0, 30_000, n) * (f.name not in ("volume", "plane"))).astype(f.type.to_pandas_dtype()))
     for f in schema(True)], schema=schema(True))
print("ready", flush=True)
while True:
    write_shard(table, block, folder, run_digest="x")
    (folder / "b000000.parquet").unlink()
"""


def test_a_process_killed_while_writing_leaves_no_shard(tmp_path: Path, blocks: tuple[Block, ...]) -> None:
    """After ``kill -9`` with part of the rows in the temporary file, no file has the final name."""
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size > 1000 for path in _unfinished(tmp_path)):
            assert time.monotonic() < deadline, "the process wrote nothing"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    left = list(tmp_path.iterdir())
    assert [path.name[:13] for path in left] == [".tmp-b000000-"]
    assert left[0].stat().st_size > 0
    assert scan_shards(tmp_path, blocks, run_digest="x") == ({}, [])
    elsewhere = left[0].with_name(left[0].name.replace(left[0].name[13:21], "0" * 8))
    shutil.copyfile(left[0], elsewhere)
    with temporary_beside(tmp_path / "b000001.parquet") as own:
        own.touch()
        assert remove_leftovers(tmp_path) == 1  # a process on another machine, or this one, may still be writing
        assert set(tmp_path.iterdir()) == {elsewhere, own}
    assert remove_leftovers(tmp_path, older_than_s=0) == 1
    assert not list(tmp_path.iterdir())


def _unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".tmp-*") if path.exists()]


def test_a_full_disk_is_reported_and_the_next_small_shard_fits(
    small_disk: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    write_shard(make_rows(blocks[0], 100), blocks[0], small_disk, run_digest=DIGEST)
    with pytest.raises(OutputError, match=r"b000001\.parquet cannot be written: the disk is full; free some space"):
        write_shard(make_rows(blocks[1], 50_000), blocks[1], small_disk, run_digest=DIGEST)
    assert [path.name for path in small_disk.iterdir()] == ["b000000.parquet"]
    write_shard(make_rows(blocks[2], 100), blocks[2], small_disk, run_digest=DIGEST)


def test_a_read_only_disk_is_reported(read_only_disk: Path, blocks: tuple[Block, ...], make_rows: MakeRows) -> None:
    with pytest.raises(OutputError, match="the file system is read-only; choose another output folder"):
        write_shard(make_rows(blocks[0], 10), blocks[0], read_only_disk, run_digest=DIGEST)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_reported(
    tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="permission is denied"):
        write_shard(make_rows(blocks[0], 10), blocks[0], tmp_path, run_digest=DIGEST)
    tmp_path.chmod(0o755)


def test_a_deleted_folder_is_reported(tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows) -> None:
    with pytest.raises(OutputError, match="the folder does not exist; create it"):
        write_shard(make_rows(blocks[0], 10), blocks[0], tmp_path / "gone", run_digest=DIGEST)


def test_known_sizes_do_not_change_the_result_of_a_scan(
    tmp_path: Path, blocks: tuple[Block, ...], make_rows: MakeRows
) -> None:
    for block in blocks:
        write_shard(make_rows(block, 30 * block.index), block, tmp_path, run_digest=DIGEST)
    receipts, _ = scan_shards(tmp_path, blocks, run_digest=DIGEST)
    sizes = {index: receipt.bytes for index, receipt in receipts.items()}
    assert scan_shards(tmp_path, blocks, run_digest=DIGEST, known_bytes=sizes) == (receipts, [])
    wrong = {index: size + 1 for index, size in sizes.items()}
    assert scan_shards(tmp_path, blocks, run_digest=DIGEST, known_bytes=wrong) == (receipts, [])
    found, reasons = scan_shards(tmp_path, blocks, run_digest="another", known_bytes=sizes)
    assert (found, len(reasons)) == ({}, 6)
    other = [replace(block, context="none") for block in blocks]
    found, reasons = scan_shards(tmp_path, other, run_digest=DIGEST, known_bytes=sizes)
    assert (found, len(reasons)) == ({}, 6)
    lost = tmp_path / receipts[3].file_name
    content = lost.read_bytes()
    lost.write_bytes(content[:100] + content[150:])
    found, reasons = scan_shards(tmp_path, blocks, run_digest=DIGEST, known_bytes=sizes)
    assert (sorted(found), len(reasons)) == ([0, 1, 2, 4, 5], 1)
