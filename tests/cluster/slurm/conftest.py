"""Fixtures for a virtual SLURM that lasts for the whole session, and for runs on it that tests can hold up."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lls_decode.cluster.site import connect
from lls_decode.cluster.slurm.queued_jobs import QueuedJob, list_jobs
from lls_decode.cluster.slurm.scripts import job_name
from lls_decode.config import ComputeConfig, ExecutionConfig, RunConfig
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.run import run
from tests.pipelines.conftest import write_bundle, write_movie

from .virtual import PATIENCE_S, VirtualSlurm, wait_for, why_not

AT_WORK = "working for the driver"
"""Text in a worker's log, written once for each driver that the worker has found."""
BLOCKS = 30
FREE_BLOCKS = 6
"""Number of blocks that can be read even while the store is closed (see `slow_reading`)."""
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def slurm() -> Iterator[VirtualSlurm]:
    """Start a virtual SLURM in a temporary folder.

    pytest's own folders cannot be used: munge needs parent folders that other users can read, and pytest makes them
    private.
    """
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, VirtualSlurm(Path(folder)) as virtual:
        yield virtual


@pytest.fixture
def nodes(slurm: VirtualSlurm) -> Iterator[VirtualSlurm]:
    """Return the virtual SLURM with all nodes up, and cancel all jobs after the test."""
    slurm.wait_until_up()
    yield slurm
    for name in slurm.job_names():
        slurm.cancel(name)


@dataclass(frozen=True)
class World:
    """A dataset, a model, and the table of an undisturbed run."""

    movie: Path
    bundle: Path
    table: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    movie, bundle = write_movie(folder / "movie.zarr", (120, 40, 48)), write_bundle(folder / "model.lls")
    config = RunConfig(compute=ComputeConfig(device="cpu", threads=1), execution=ExecutionConfig(block_frames=60))
    with connect("local", workers=1, dashboard_address="127.0.0.1:0") as client:
        result = run(make_plan(movie, bundle, folder / "out", config), client)
    assert (result.exit_status, result.done) == (0, 2)
    assert result.merged is not None
    return World(movie, bundle, result.merged)


class Run:
    """``lls-decode run --site slurm`` in a separate process, with a store that can be closed temporarily."""

    def __init__(self, world: World, folder: Path, **profile: Any) -> None:
        self._world = world
        self.out = folder / "out"
        self.store = folder / "store"
        self.store.mkdir(exist_ok=True)
        self.name = job_name(self.out)
        self._environment = {
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "['slow_reading']",
            "SLOW_READING": str(self.store),
            "OMP_NUM_THREADS": "1",
        }
        job = {"cpus": 1, "memory_gib": 2, "hours": 1}
        data = {
            "kind": "slurm",
            "workers_max": 2,
            "interface": "lo",
            "notice_s": 30,
            "setup": [f'export {key}="{value}"' for key, value in self._environment.items()],
            **profile,
        }
        for name in ("worker", "driver"):
            data[name] = job | data.get(name, {})
        self.profile = folder / "profile.yaml"
        self.profile.write_text(yaml.safe_dump(data))
        self.process: subprocess.Popen[str] | None = None

    def start(self, *words: str) -> "Run":
        command = [sys.executable, "-P", "-m", "lls_decode.pipelines.cli", "run", str(self._world.movie)]
        command += ["--model", str(self._world.bundle), "--out", str(self.out), "--block-frames", "4"]
        command += ["--device", "cpu", "--site", str(self.profile), "--json", *words]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self._environment},
            preexec_fn=_listen_to_ctrl_c,
        )
        return self

    def end(self, timeout_s: float = PATIENCE_S) -> tuple[int, str, str]:
        """Wait for the end of the command and return its exit status, stdout and stderr."""
        assert self.process is not None
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err

    def close(self) -> None:
        """Close the store: from now on, reading most blocks waits until the store is opened."""
        (self.store / "closed").touch()

    def open(self) -> None:
        (self.store / "closed").unlink()

    def jobs(self) -> list[QueuedJob]:
        return list_jobs(self.name)

    def running(self) -> list[QueuedJob]:
        return [job for job in self.jobs() if job.state == "RUNNING"]

    def workers(self) -> list[QueuedJob]:
        return [job for job in self.running() if job.in_array]

    def driver(self) -> QueuedJob | None:
        return next((job for job in self.running() if not job.in_array), None)

    def shards(self) -> int:
        return len(list((self.out / "shards").glob("b*.parquet")))

    def logs(self, kind: str) -> str:
        return "".join(path.read_text() for path in sorted((self.out / "logs").glob(f"{kind}-*.log")))

    def wait_for_log(self, kind: str, words: str, count: int = 1) -> None:
        """Wait until the logs of the workers, or of the driver, contain a text a given number of times."""
        wait_for(lambda: self.logs(kind).count(words) >= count, lambda: self._story(f"{words!r} in the {kind}'s log"))

    def wait_until_held(self, workers: int = 2) -> None:
        """Wait until a given number of workers have found the driver and wait for the closed store."""
        wait_for(lambda: self.shards() >= FREE_BLOCKS, lambda: self._story("the first blocks"))
        self.wait_for_log("worker", AT_WORK, workers)

    def _story(self, what: str) -> str:
        """Return the queue and the end of the logs, to explain why something did not happen."""
        return f"{what}\n{self.jobs()}\n{self.logs('*')[-5000:]}"

    def summary(self) -> dict[str, Any]:
        """Wait for the run, check that it succeeded, and return its summary from ``--json``."""
        status, out, err = self.end()
        assert status == 0, err + self.logs("driver")[-3000:]
        found: dict[str, Any] = json.loads(out)
        assert (found["blocks_done"], found["blocks_failed"]) == (BLOCKS, [])
        return found


def _listen_to_ctrl_c() -> None:
    """Make a program stop on Ctrl-C as at a terminal, because shells let background programs ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def runs(nodes: VirtualSlurm, world: World, tmp_path: Path) -> "Iterator[Callable[..., Run]]":
    """Return a function that creates runs; after the test, kill the runs that are still running."""
    made = []

    def make(**profile: Any) -> Run:
        made.append(Run(world, tmp_path, **profile))
        return made[-1]

    yield make
    for item in made:
        if item.process is not None and item.process.poll() is None:
            item.process.kill()
            item.process.wait()
