"""Full or read-only disks stop a run with a message of one line; rerunning the same command completes the run."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from distributed import Client

from lls_decode.errors import OutputError
from lls_decode.pipelines.journal import lock
from lls_decode.pipelines.journal.events import BlockDone, Event, MergeStarted
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.status.reader import read_status
from tests.disks import fill
from tests.pipelines.conftest import World, shard_identities

MountDisk = Callable[[str], Path]

BLOCKS = 30
"""Number of blocks, of 4 frames each."""
FULL = "cannot be written: the disk is full; free some space"
READ_ONLY = "cannot be written: the file system is read-only"


@pytest.fixture(scope="module")
def undisturbed(world: World, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the table of an undisturbed run."""
    merged = run(world.plan(tmp_path_factory.mktemp("undisturbed"), block_frames=4), client).merged
    assert merged is not None
    return merged


def plan_in(world: World, out: Path) -> Plan:
    return world.plan(out, block_frames=4, execution={"retries": 0})


class When:
    """Listener that calls a function once, at the n-th event of a kind."""

    def __init__(self, kind: type[Event], number: int, action: Callable[[], object]) -> None:
        self._kind, self._left, self._action = kind, number, action

    def __call__(self, event: Event) -> None:
        if isinstance(event, self._kind):
            self._left -= 1
            if self._left == 0:
                self._action()


def assert_stops(plan: Plan, client: Client, listener: When, words: str) -> dict[str, tuple[int, int]]:
    """Check that a run stops with a message of one line and leaves a resumable folder; return the shards in it."""
    with pytest.raises(OutputError, match=words) as caught:
        run(plan, client, listeners=[listener])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2
    assert not list(plan.out.glob(".tmp-*"))
    assert read_status(plan.out).owner is None
    return shard_identities(plan)


def assert_finishes(plan: Plan, client: Client, undisturbed: Path, before: dict[str, tuple[int, int]]) -> None:
    """Check that rerunning the same command processes only the remaining blocks and gives the undisturbed table."""
    result = run(plan, client)
    assert (result.done, result.exit_status) == (BLOCKS, 0)
    assert result.merged is not None
    assert pq.read_table(result.merged).equals(pq.read_table(undisturbed))
    now = shard_identities(plan)
    assert {name: now[name] for name in before} == before
    assert (read_status(plan.out).state, read_status(plan.out).rows) == ("done", result.rows)


def test_full_disk_of_the_shards_stops_the_run(
    world: World, client: Client, undisturbed: Path, mount_disk: MountDisk, tmp_path: Path
) -> None:
    plan = plan_in(world, tmp_path / "out")
    disk = mount_disk("size=2m")
    plan.out.mkdir()
    (plan.out / "shards").symlink_to(disk)
    before = assert_stops(plan, client, When(BlockDone, 3, lambda: fill(disk)), FULL)
    assert 3 <= len(before) < BLOCKS
    assert read_status(plan.out).state == "incomplete"
    (disk / "ballast").unlink()
    assert_finishes(plan, client, undisturbed, before)


def disk_without_shards(mount_disk: MountDisk, folder: Path) -> Path:
    """Return a small disk for a run folder whose shards are stored in ``folder``, which has enough space."""
    disk = mount_disk("size=2m")
    (folder / "shards").mkdir()
    (disk / "shards").symlink_to(folder / "shards")
    return disk


def test_full_disk_of_the_ledger_stops_the_run(
    world: World, client: Client, undisturbed: Path, mount_disk: MountDisk, tmp_path: Path
) -> None:
    """A line of the ledger is truncated at the end of a disk page; the next start ends it and counts its block."""
    out = disk_without_shards(mount_disk, tmp_path)
    plan = plan_in(world, out)
    before = assert_stops(plan, client, When(BlockDone, 2, lambda: fill(out)), rf"(ledger|events)\.jsonl {FULL}")
    assert before
    (out / "ballast").unlink()
    assert_finishes(plan, client, undisturbed, before)


def test_full_disk_of_the_table_stops_the_run(
    world: World, client: Client, undisturbed: Path, mount_disk: MountDisk, tmp_path: Path
) -> None:
    out = disk_without_shards(mount_disk, tmp_path)
    plan = plan_in(world, out)
    half = undisturbed.stat().st_size // 2
    listener = When(MergeStarted, 1, lambda: fill(out, leave=half // 4096 * 4096))
    before = assert_stops(plan, client, listener, rf"localizations\.parquet {FULL}")
    assert len(before) == BLOCKS
    (out / "ballast").unlink()
    assert_finishes(plan, client, undisturbed, before)


def test_run_on_a_full_disk_does_not_start(
    world: World, client: Client, mount_disk: MountDisk, undisturbed: Path
) -> None:
    out = mount_disk("size=2m")
    plan = plan_in(world, out)
    for folder in ("shards", "logs"):
        (out / folder).mkdir()
    ballast = fill(out)
    with pytest.raises(OutputError, match=FULL):
        run(plan, client)
    assert sorted(path.name for path in out.iterdir()) == ["ballast", "logs", "shards"]
    ballast.unlink()
    assert_finishes(plan, client, undisturbed, {})


# --- read-only --------------------------------------------------------------------------------------------------------


def remount(disk: Path, how: str) -> None:
    """Remount a disk read-only or writable, after waiting for files that are being written.

    A disk becomes read-only when an administrator remounts it, or when its file system has met an error.
    """
    limit = time.monotonic() + 30
    while subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], capture_output=True, check=False).returncode:
        assert time.monotonic() < limit, f"{disk} cannot be made {how}"
        time.sleep(0.01)


def test_disk_that_becomes_read_only_stops_the_run(
    world: World, client: Client, undisturbed: Path, mount_disk: MountDisk, tmp_path: Path
) -> None:
    disk = mount_disk("size=2m")
    plan = plan_in(world, tmp_path / "out")
    plan.out.mkdir()
    (plan.out / "shards").symlink_to(disk)
    before = assert_stops(plan, client, When(BlockDone, 3, lambda: remount(disk, "ro")), READ_ONLY)
    assert 3 <= len(before) < BLOCKS
    remount(disk, "rw")
    assert_finishes(plan, client, undisturbed, before)


def test_read_only_folder_with_a_stale_lock_is_refused(
    world: World, client: Client, undisturbed: Path, mount_disk: MountDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WATCH_S", 0.1)
    out = mount_disk("size=2m")
    plan = plan_in(world, out)
    (out / "run.lock").write_text("")  # the process that created the lock died before it filled it
    os.utime(out / "run.lock", (0, 0))
    (out / "shards").mkdir()
    (out / "logs").mkdir()
    (out / "shards" / ".tmp-b000000-0.parquet").touch()
    remount(out, "ro")
    with pytest.raises(OutputError, match=READ_ONLY):
        run(plan, client)
    remount(out, "rw")
    assert_finishes(plan, client, undisturbed, {})


def test_new_folder_on_a_read_only_disk_is_refused(world: World, client: Client, mount_disk: MountDisk) -> None:
    with pytest.raises(OutputError, match=READ_ONLY):
        run(plan_in(world, mount_disk("ro") / "out"), client)
