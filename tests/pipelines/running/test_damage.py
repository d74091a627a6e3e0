"""Damaged shards and damaged chunks of the dataset are found and named, and their blocks are recomputed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from distributed import Client

from lls_decode.errors import ShardError
from lls_decode.pipelines.journal.events import BlockDone, BlockFailed, Event, MergeStarted
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running import run as run_module
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.status.progress import RunCounts
from lls_decode.pipelines.status.reader import read_status
from lls_decode.table import verify_shard
from lls_decode.table.files import temporary_beside
from tests.pipelines.conftest import (
    HEIGHT,
    WIDTH,
    World,
    assert_same_rows,
    assert_same_table,
    shard_identities,
    write_movie,
)

BLOCKS = 8
"""Number of blocks, of 16 frames each."""
DAMAGED = "b000003.parquet"


@pytest.fixture(scope="module")
def undisturbed(world: World, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an undisturbed run."""
    plan = world.plan(tmp_path_factory.mktemp("undisturbed"))
    assert run(plan, client).exit_status == 0
    return plan.out


# --- shards -----------------------------------------------------------------------------------------------------------


def test_finished_run_leaves_no_temporary_files_of_killed_workers(world: World, client: Client, tmp_path: Path) -> None:
    """Temporary files of dead processes of this machine are removed at the end, those of living ones are kept."""
    plan = world.plan(tmp_path)
    code = "import os, sys; from lls_decode.table.files import temporary_beside as f; from pathlib import Path\n"
    code += "with f(Path(sys.argv[1]) / 'b000003.parquet') as path: path.touch(); os._exit(0)"

    def kill_a_worker(event: Event) -> None:
        if isinstance(event, MergeStarted):
            subprocess.run([sys.executable, "-c", code, plan.out / "shards"], check=True)
            assert len(list((plan.out / "shards").glob(".tmp-*"))) == 2

    (tmp_path / "shards").mkdir()
    with temporary_beside(plan.out / "shards" / "b000005.parquet") as living:
        living.touch()
        assert run(plan, client, listeners=[kill_a_worker]).exit_status == 0
        assert list((plan.out / "shards").glob(".tmp-*")) == [living]


def truncate(shard: Path) -> None:
    os.truncate(shard, shard.stat().st_size * 2 // 3)


def flip(shard: Path) -> None:
    """Flip a bit of the rows, and leave the footer intact, which a resumed run checks."""
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 8
    shard.write_bytes(content)


def remove(shard: Path) -> None:
    shard.unlink()


def replace(shard: Path) -> None:
    """Overwrite a shard with the shard of another block."""
    shard.write_bytes(shard.with_name("b000004.parquet").read_bytes())


DAMAGES = (truncate, flip, remove, replace)


class AtMerge:
    """Listener that damages a shard when a merge starts."""

    def __init__(self, damage: Callable[[Path], None], shard: Path, *, times: int = 1) -> None:
        self.events: list[dict[str, Any]] = []
        self.rates = RunCounts()
        self._damage, self._shard, self._left = damage, shard, times

    def __call__(self, event: Event) -> None:
        self.events.append(event.to_dict())
        self.rates.count(event)
        if isinstance(event, MergeStarted) and self._left:
            self._left -= 1
            self._damage(self._shard)


def assert_as_undisturbed(plan: Plan, undisturbed: Path) -> None:
    assert_same_table(plan.out, undisturbed)
    status = read_status(plan.out)
    rows = pq.read_metadata(plan.out / "localizations.parquet").num_rows
    assert (status.state, status.blocks_done, status.rows) == ("done", BLOCKS, rows)


@pytest.mark.parametrize("damage", DAMAGES)
def test_shard_damaged_before_the_merge_is_recomputed(
    damage: Callable[[Path], None], world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    plan = world.plan(tmp_path)
    listener = AtMerge(damage, tmp_path / "shards" / DAMAGED)
    result = run(plan, client, listeners=[listener])
    assert (result.done, result.failed, result.exit_status) == (BLOCKS, (), 0)
    assert_as_undisturbed(plan, undisturbed)
    verify_shard(tmp_path / "shards" / DAMAGED)
    (said,) = (event for event in listener.events if event["event"] == "ShardDamaged")
    assert said["block_id"] == "b000003"
    assert (listener.rates.frames_done, listener.rates.rows) == (120, result.rows)


@pytest.mark.parametrize("damage", DAMAGES)
def test_shard_damaged_between_two_starts_is_recomputed(
    damage: Callable[[Path], None], world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    """The damage is found from the footer when the run starts, or from the checksum when shards are merged."""
    plan = world.plan(tmp_path)
    for path in (undisturbed / "shards").glob("b*"):
        plan.out.joinpath("shards").mkdir(exist_ok=True)
        (tmp_path / "shards" / path.name).write_bytes(path.read_bytes())
    damage(tmp_path / "shards" / DAMAGED)
    before = shard_identities(plan)
    result = run(plan, client)
    assert (result.done, result.exit_status) == (BLOCKS, 0)
    assert_as_undisturbed(plan, undisturbed)
    changed = {name for name, identity in shard_identities(plan).items() if identity != before.get(name)}
    assert changed == {DAMAGED}


def test_disk_that_damages_every_written_shard_stops_the_run(world: World, client: Client, tmp_path: Path) -> None:
    plan = world.plan(tmp_path)
    listener = AtMerge(flip, tmp_path / "shards" / DAMAGED, times=run_module.MOST_REPAIRS + 1)
    with pytest.raises(ShardError, match=rf"{DAMAGED}.* rerun"):
        run(plan, client, listeners=[listener])
    assert not (tmp_path / "localizations.parquet").exists()
    assert listener.events[-1]["exit_status"] == 3


# --- chunks of the dataset --------------------------------------------------------------------------------------------


def test_unreadable_chunks_lose_their_frames_until_they_are_repaired(
    world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    """One chunk is missing, one is truncated, one holds wrong bytes; each has four frames in the middle of a block."""
    movie = write_movie(tmp_path / "movie.zarr", (120, HEIGHT, WIDTH))
    chunks = {number: movie / "c" / str(number) / "0" / "0" for number in (9, 17, 25)}
    whole = {number: path.read_bytes() for number, path in chunks.items()}
    chunks[9].unlink()
    os.truncate(chunks[17], len(whole[17]) // 2)
    chunks[25].write_bytes(bytes(reversed(whole[25])))
    out = tmp_path / "out"

    def plan() -> Plan:
        return world.plan(out, dataset=movie, execution={"retries": 0})

    done: list[Event] = []
    first = run(plan(), client, listeners=[done.append])
    assert (first.done, first.exit_status, first.failed) == (BLOCKS, 1, ())
    assert first.lost == ((36, 40), (68, 72), (100, 104))
    short = [event for event in done if isinstance(event, BlockDone) and event.lost]
    assert sorted(event.block for event in short) == [2, 4, 6]
    for item, (number, words) in zip(
        sorted(short, key=lambda event: event.block), ((9, "missing"), (17, ""), (25, "")), strict=True
    ):
        assert f"c/{number}/0/0" in item.reason
        assert words in item.reason
    near = {frame for start, stop in first.lost for frame in range(start - 1, stop + 1)}
    expected, found = (pq.read_table(folder / "localizations.parquet") for folder in (undisturbed, out))
    expected, found = (
        table.filter([frame not in near for frame in table["frame"].to_pylist()]) for table in (expected, found)
    )
    assert_same_rows(found, expected)
    before = shard_identities(plan())

    for number, path in chunks.items():
        path.write_bytes(whole[number])
    events: list[Event] = []
    second = run(plan(), client, listeners=[events.append])
    assert (second.done, second.exit_status) == (BLOCKS, 0)
    assert not [event for event in events if isinstance(event, BlockFailed)]
    after = shard_identities(plan())
    assert {name for name in before if after[name] != before[name]} == {f"b00000{i}.parquet" for i in (2, 4, 6)}
    assert_as_undisturbed(plan(), undisturbed)
    assert json.loads((out / "run.json").read_text())["dataset"] == str(movie)
