"""A lost or damaged run record is rebuilt from the shards, and damage of the merged table is noticed."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.config import Arithmetic
from lls_decode.errors import OutputError, RunConflictError
from lls_decode.molecules import filter_table
from lls_decode.pipelines.journal.events import RunStarted
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.json_lines import EventWriter
from lls_decode.pipelines.journal.merged_table import find_table_damage
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running.merging import merge
from lls_decode.pipelines.running.ownership import take_ownership
from lls_decode.pipelines.status.reader import RunReader, read_status
from lls_decode.table import read_metadata, schema, table_writer, write_shard
from tests.pipelines.conftest import World


def _done(plan: Plan, *, run_digest: str = "") -> RunFolder:
    """Return the run folder of a plan with empty shards for all blocks."""
    folder = RunFolder(plan.out)
    folder.create()
    take_ownership(plan, folder, force=False)
    rows = schema(with_sample=False).empty_table()
    for block in plan.blocks:
        write_shard(pa.table(rows), block, folder.shards, run_digest=run_digest or plan.run_digest)
    return folder


@pytest.mark.parametrize("damage", ["gone", "truncated", "a list", "zeros"])
def test_record_is_rebuilt(world: World, tmp_path: Path, damage: str) -> None:
    plan = world.plan(tmp_path / "out")
    folder = _done(plan)
    before = folder.read_run()
    text = folder.record.read_bytes()
    contents = {"truncated": text[:200], "a list": b"[]", "zeros": bytes(len(text))}
    if damage == "gone":
        folder.record.unlink()
    else:
        folder.record.write_bytes(contents[damage])
    assert "damaged" in plan.describe()[-1] or damage == "gone"
    take_ownership(plan, folder, force=False)
    after = folder.read_run()
    assert (after.run_digest, after.plan_blocks()) == (before.run_digest, before.plan_blocks())


@pytest.mark.parametrize("damage", ["gone", "truncated"])
def test_shards_of_another_run_are_refused(world: World, tmp_path: Path, damage: str) -> None:
    plan = world.plan(tmp_path / "out")
    folder = _done(plan)
    (folder.shards / f"{plan.blocks[0].id}.parquet").unlink()
    write_shard(schema(with_sample=False).empty_table(), plan.blocks[0], folder.shards, run_digest="0" * 16)
    if damage == "gone":
        folder.record.unlink()
    else:
        folder.record.write_text("{")
    with pytest.raises(RunConflictError, match="--force to discard its contents"):
        take_ownership(plan, folder, force=False)
    take_ownership(plan, folder, force=True)
    assert folder.read_run().run_digest == plan.run_digest


@pytest.mark.parametrize("damage", ["gone", "truncated"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_record_of_a_run_with_automatic_arithmetic_is_rebuilt(
    world: World, tmp_path: Path, damage: str, dtype: Arithmetic
) -> None:
    """The shards tell which arithmetic the workers chose when the run started."""
    plan = world.plan(tmp_path / "out", dtype="auto").with_dtype(dtype)
    folder = _done(plan)
    before = folder.read_run()
    if damage == "gone":
        folder.record.unlink()
    else:
        folder.record.write_bytes(folder.record.read_bytes()[:200])
    again = world.plan(tmp_path / "out", dtype="auto")
    assert again.config.compute.dtype == dtype
    take_ownership(again, folder, force=False)
    assert folder.read_run().identity == before.identity


@pytest.mark.parametrize("damage", ["flip", "cut", "grown", "footer"])
def test_damaged_table_is_noticed_and_merged_again(world: World, tmp_path: Path, damage: str) -> None:
    folder = _done(world.plan(tmp_path / "out"))
    merge(folder.out)
    whole = folder.table.read_bytes()
    reader = RunReader(folder.out)
    first = reader.read()
    assert (first.state, first.table_damage) == ("done", None)
    middle = len(whole) // 3
    flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    changed = {"flip": flipped, "cut": whole[:-500], "grown": whole + b"\0", "footer": whole[:-4] + b"PARX"}[damage]
    folder.table.write_bytes(changed)
    for status in (reader.read(), read_status(folder.out)):
        assert status.state == "incomplete"
        assert status.table_damage
        assert any(line.startswith("damaged ") for line in status.describe())
    merge(folder.out)
    assert folder.table.read_bytes() == whole
    assert read_status(folder.out).table_damage is None


def test_deleted_table_is_noticed_and_merged_again(world: World, tmp_path: Path) -> None:
    folder = _done(world.plan(tmp_path / "out"))
    unmerged = read_status(folder.out)
    assert (unmerged.table, unmerged.table_damage) == (None, None)
    assert "table      not merged yet" in unmerged.describe()
    merge(folder.out)
    folder.table.unlink()
    status = read_status(folder.out)
    assert (status.state, status.table) == ("incomplete", None)
    lines = status.describe()
    assert "table      none" in lines
    assert any(line.startswith("damaged    the table: it was merged, but the file is gone; rewrite") for line in lines)
    merge(folder.out)
    assert (read_status(folder.out).state, read_status(folder.out).table_damage) == ("done", None)


def test_table_that_a_new_start_removed_is_not_missed(world: World, tmp_path: Path) -> None:
    """A start that processes finished blocks again removes the table, and may be interrupted before it merges."""
    folder = _done(world.plan(tmp_path / "out"))
    merge(folder.out)
    folder.table.unlink()
    events = EventWriter(folder.out / "events.jsonl")
    events(RunStarted(run_digest="a", blocks=2, blocks_found=0, frames=8, frames_found=0, rows_found=0))
    events.close()
    assert read_status(folder.out).table_damage is None


def test_copied_table_does_not_count_as_damaged(world: World, tmp_path: Path) -> None:
    folder = _done(world.plan(tmp_path / "out"))
    merge(folder.out)

    shutil.copytree(folder.out, tmp_path / "copy", copy_function=shutil.copyfile)
    assert read_status(tmp_path / "copy").table_damage is None
    digest = folder.read_run().run_digest
    assert find_table_damage(folder.table, None, run_digest=digest, whole=True) is None


def test_table_of_another_run_is_noticed(world: World, tmp_path: Path) -> None:
    """It is not taken for the run's own table that was processed in place, e.g. by a filter."""
    folder = _done(world.plan(tmp_path / "out"))
    merge(folder.out)
    whole = folder.table.read_bytes()
    filter_table(folder.table, tmp_path / "own.parquet", where="x_nm > -1e9")
    stored = pq.read_table(tmp_path / "own.parquet")
    metadata = read_metadata(tmp_path / "own.parquet").replace(run_digest="0" * 16)
    with table_writer(tmp_path / "other.parquet", stored.schema, metadata) as writer:
        writer.write(stored)
    for name, damage in {"own": None, "other": "it is not the table of this run"}.items():
        shutil.copyfile(tmp_path / f"{name}.parquet", folder.table)
        assert read_status(folder.out).table_damage == damage
    merge(folder.out)
    assert folder.table.read_bytes() == whole


def test_temporary_file_of_a_killed_merge_is_removed(world: World, tmp_path: Path) -> None:
    folder = _done(world.plan(tmp_path / "out"))
    left = folder.out / ".tmp-localizations-0123.parquet"
    other = folder.out / ".tmp-molecules-0123.parquet"
    left.write_bytes(bytes(1000))
    other.write_bytes(bytes(1000))
    merge(folder.out)
    assert not left.exists()
    assert other.exists()


def test_temporary_files_are_kept_while_another_share_is_running(world: World, tmp_path: Path) -> None:
    folder = _done(world.plan(tmp_path / "out"))
    left = folder.out / ".tmp-localizations-0123.parquet"
    left.write_bytes(bytes(1000))
    share = RunFolder(folder.out, "2-of-8")
    with share.locked():
        folder.remove_unfinished_table()
        assert left.exists()
    folder.remove_unfinished_table()
    assert not left.exists()


@pytest.mark.parametrize("place", ["the dataset", "in the dataset", "in another store"])
def test_output_inside_a_dataset_is_refused(world: World, tmp_path: Path, place: str) -> None:
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "zarr.json").write_text("{}")
    places = {
        "the dataset": world.movie,
        "in the dataset": world.movie / "c" / "results",
        "in another store": tmp_path / "other.zarr" / "results",
    }
    with pytest.raises(OutputError, match="give an --out elsewhere"):
        world.plan(places[place])
