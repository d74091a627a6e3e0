"""Localizing an acquisition while it is being written gives the same table as localizing the finished dataset."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from distributed import Client

from lls_decode.cluster.site import connect
from lls_decode.errors import InputError
from lls_decode.frames import FrameSource
from lls_decode.frames.growing import Growth
from lls_decode.pipelines.journal.events import BlockDone, DatasetGrown, Event
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running.acquisition import Acquisition, StopConditions
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.status.reader import read_status
from lls_decode.table import read_metadata
from tests.pipelines.conftest import HEIGHT, WIDTH, World, run_config, shard_identities, write_movie

WRITER = Path(__file__).parents[1] / "slow_writer.py"
WRITING_S = 1.5
SETTLE_S = 1.0
"""Settling time, which must be longer than any pause of the writer when files are filled in place."""


@contextmanager
def writer(way: str, out: Path, shape: tuple[int, ...]) -> Iterator[None]:
    frames = out.with_suffix(".npy")
    np.save(frames, (np.random.default_rng(0).poisson(20, (*shape, HEIGHT, WIDTH)) + 100).astype("u2"))
    with subprocess.Popen([sys.executable, str(WRITER), way, str(out), str(frames), str(WRITING_S)]) as process:
        yield
        assert process.wait(60) == 0


class Follower:
    """An acquisition, and the events of the run that follows it."""

    def __init__(
        self, world: World, dataset: Path, out: Path, *, context: str = "time", ending: StopConditions
    ) -> None:
        self.make = (dataset, world.bundle(context), out, run_config(10))
        self.acquisition = Acquisition(*self.make, ending=ending, poll_s=0.05, settle_s=SETTLE_S)
        self.events: list[Event] = []

    def run(self, client: Client, listener: Callable[[Event], None] = lambda event: None) -> Plan:
        plan = self.acquisition.wait()
        result = run(plan, client, listeners=[self.events.append, listener], acquisition=self.acquisition)
        assert (result.exit_status, result.failed) == (0, ())
        return make_plan(*self.make)


@pytest.fixture(scope="module")
def one_worker() -> Iterator[Client]:
    with connect("local", workers=1, dashboard_address="127.0.0.1:0") as client:
        yield client


def assert_as_ordinary_run(plan: Plan, client: Client, out: Path) -> None:
    """Check that a table and its metadata equal those of an ordinary run of the finished dataset.

    An ordinary run in the same folder must find all blocks finished.
    """
    ordinary = make_plan(plan.dataset, plan.bundle_path, out, plan.config)
    assert run(ordinary, client).exit_status == 0
    table, expected = plan.out / "localizations.parquet", out / "localizations.parquet"
    assert pq.read_table(table).equals(pq.read_table(expected))
    assert read_metadata(table) == read_metadata(expected)
    before = shard_identities(plan)
    assert len(before) == len(plan.blocks)
    again = run(plan, client)
    assert (again.done, again.exit_status) == (len(plan.blocks), 0)
    assert shard_identities(plan) == before


@pytest.mark.parametrize(
    ("way", "shape", "context"),
    [
        ("append-v2", (42,), "time"),
        ("append-v3", (42,), "time"),
        ("declared", (42,), "time"),
        ("volumes", (9, 4), "plane"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_followed_acquisition_gives_the_table_of_the_finished_dataset(
    way: str, shape: tuple[int, ...], context: str, world: World, one_worker: Client, tmp_path: Path
) -> None:
    dataset, go, over = (tmp_path / name for name in ("data.zarr", "data.zarr.go", "data.zarr.over"))
    follower = Follower(world, dataset, tmp_path / "out", context=context, ending=StopConditions(file=over))
    with writer(way, dataset, shape):  # the writer waits half-way until the first block is done
        plan = follower.run(one_worker, lambda event: go.touch() if isinstance(event, BlockDone) else None)
    assert any(isinstance(event, DatasetGrown) for event in follower.events)
    assert plan.layout.num_volumes == shape[0]
    assert_as_ordinary_run(plan, one_worker, tmp_path / "ordinary")


@pytest.mark.parametrize(
    ("ending", "stop"),
    [(StopConditions(volumes=120), False), (StopConditions(idle_s=0.3), False), (StopConditions(), True)],
    ids=["number of volumes", "no new frames", "file STOP"],
)
def test_acquisition_ends_when_a_stop_condition_is_met(
    ending: StopConditions, stop: bool, world: World, tmp_path: Path
) -> None:
    """Blocks become ready in order, except the last one, whose context may still arrive until the acquisition ends."""
    acquisition = Acquisition(
        world.movie, world.bundle(), tmp_path, run_config(16), ending=ending, poll_s=0.01, settle_s=0.2
    )
    if stop:
        (tmp_path / "STOP").touch()
    acquisition.wait()
    ready = [block.index for some in acquisition.iter_blocks(lambda event: None) for block in some]
    plan = acquisition.whole_plan()
    assert ready == list(range(7))[: len(ready)]
    assert len(plan.blocks) == 8
    assert plan.run_digest == world.plan(tmp_path).run_digest


@pytest.mark.parametrize("look_s", [0.0, 0.4], ids=["delayed between checks", "slow checks"])
def test_volumes_that_arrive_during_a_delay_must_settle(
    look_s: float, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Volumes that arrive while nobody checks the dataset may be incomplete, even if the acquisition is over."""
    dataset, over = tmp_path / "data.zarr", tmp_path / "over"

    def write_volumes(numbers: range) -> None:
        for number in numbers:
            volume = zarr.create_array(
                str(dataset / f"v{number}.zarr"), shape=(4, HEIGHT, WIDTH), dtype="u2", chunks=(1, HEIGHT, WIDTH)
            )
            volume[:] = np.random.default_rng(number).poisson(120, volume.shape)

    write_volumes(range(3))
    acquisition = Acquisition(
        dataset,
        world.bundle("plane"),
        tmp_path / "out",
        run_config(10),
        ending=StopConditions(file=over),
        poll_s=0.01,
        settle_s=0.3,
    )
    acquisition.wait()
    blocks = acquisition.iter_blocks(lambda event: None)
    limit = time.monotonic() + 0.6
    while time.monotonic() < limit:
        next(blocks)
    write_volumes(range(3, 8))
    over.touch()
    real = Growth.look

    def look(self: Growth) -> FrameSource | None:
        found = real(self)
        time.sleep(look_s)
        return found

    monkeypatch.setattr(Growth, "look", look)
    for _ in blocks:
        pass
    assert acquisition.source is not None
    assert acquisition.source.layout.num_volumes == 7


def test_first_volume_that_changes_during_a_slow_check_must_settle(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The single volume of a finished acquisition is planned only after it has not changed for the settling time."""
    dataset, settle_s = tmp_path / "data.zarr", 0.3
    volume = zarr.create_array(
        str(dataset / "v0.zarr"), shape=(4, HEIGHT, WIDTH), dtype="u2", chunks=(1, HEIGHT, WIDTH)
    )
    volume[:2] = 120
    (tmp_path / "over").touch()
    acquisition = Acquisition(
        dataset,
        world.bundle("plane"),
        tmp_path / "out",
        run_config(10),
        ending=StopConditions(file=tmp_path / "over"),
        poll_s=0.01,
        settle_s=settle_s,
    )
    real, written = Growth.look, [0.0]

    def look(self: Growth) -> FrameSource | None:
        found = real(self)
        if not written[0]:
            time.sleep(2 * settle_s)
            volume[2:] = 120
            written[0] = time.monotonic()
        return found

    monkeypatch.setattr(Growth, "look", look)
    plan = acquisition.wait()
    assert time.monotonic() - written[0] >= settle_s
    assert plan.layout.num_volumes == 1


def test_acquisition_does_not_end_before_the_expected_number_of_volumes(world: World, tmp_path: Path) -> None:
    acquisition = Acquisition(
        world.movie,
        world.bundle(),
        tmp_path,
        run_config(16),
        ending=StopConditions(volumes=121),
        poll_s=0.01,
        settle_s=0.05,
    )
    acquisition.wait()
    limit = time.monotonic() + 0.5
    for _ in acquisition.iter_blocks(lambda event: None):
        if time.monotonic() > limit:
            return
    pytest.fail("the acquisition ended although a volume is missing")


def test_acquisition_that_never_starts_is_an_error(world: World, tmp_path: Path) -> None:
    never = tmp_path / "never.zarr"
    acquisition = Acquisition(
        never,
        world.bundle(),
        tmp_path / "out",
        run_config(16),
        ending=StopConditions(idle_s=0.1),
        poll_s=0.01,
        settle_s=0.05,
    )
    with pytest.raises(InputError, match=r"never\.zarr does not exist"):
        acquisition.wait()


def test_interrupted_acquisition_can_be_resumed_without_following(
    world: World, one_worker: Client, tmp_path: Path
) -> None:
    follower = Follower(world, world.movie, tmp_path / "out", ending=StopConditions())
    plan = follower.acquisition.wait()

    def interrupt(event: Event) -> None:
        if isinstance(event, BlockDone):
            os.kill(os.getpid(), signal.SIGINT)

    result = run(plan, one_worker, listeners=[interrupt], acquisition=follower.acquisition)
    assert (result.exit_status, result.merged) == (130, None)
    assert read_status(plan.out).state == "incomplete"
    before = shard_identities(plan)
    assert before
    whole = make_plan(*follower.make)
    assert run(whole, one_worker).exit_status == 0
    assert {name: shard_identities(plan)[name] for name in before} == before
    assert_as_ordinary_run(whole, one_worker, tmp_path / "ordinary")


def test_ordinary_run_can_be_resumed_after_the_dataset_has_grown(
    world: World, one_worker: Client, tmp_path: Path
) -> None:
    """Blocks at the former end of the dataset are recomputed, and all other blocks are kept."""
    dataset = write_movie(tmp_path / "data.zarr", (42, HEIGHT, WIDTH))
    frames = zarr.open_array(str(dataset), mode="r")[:]
    zarr.open_array(str(dataset), mode="r+").resize((28, HEIGHT, WIDTH))
    make = (dataset, world.bundle(), tmp_path / "out", run_config(10))
    first = make_plan(*make)
    assert (len(first.blocks), run(first, one_worker).exit_status) == (3, 0)
    before = shard_identities(first)
    array = zarr.open_array(str(dataset), mode="r+")
    array.resize((42, HEIGHT, WIDTH))
    array[:] = frames
    plan = make_plan(*make)
    assert plan.run_digest == first.run_digest
    assert run(plan, one_worker).exit_status == 0
    kept = {name for name, identity in shard_identities(plan).items() if before.get(name) == identity}
    assert kept == {"b000000.parquet", "b000001.parquet"}
    assert_as_ordinary_run(plan, one_worker, tmp_path / "ordinary")
