"""Fixtures for small runs: random frames, a small network with random weights, and two worker processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zarr
from distributed import Client

from lls_decode.cluster.site import connect
from lls_decode.config import (
    ComputeConfig,
    ExecutionConfig,
    GaussianPsf,
    Geometry,
    NetworkConfig,
    PixelSize,
    RunConfig,
    Scaling,
    ScmosCamera,
)
from lls_decode.frames import FrameSource
from lls_decode.model.bundle import save_bundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.pipelines.cli import main
from lls_decode.pipelines.journal.events import BlockDone, Event
from lls_decode.pipelines.planning.plan import Plan, make_plan

if TYPE_CHECKING:
    from .run_processes import ForkServer

HEIGHT, WIDTH = 40, 48
Invoke = Callable[..., tuple[int, str, str]]
"""Function that runs a command line and returns its exit status, stdout and stderr."""
CAMERA = ScmosCamera(offset_adu=100, gain_adu_per_e=1, variance_adu2=2)

CLIENT_PROGRAM = """
import json, sys
from lls_decode.cluster.site import connect
from lls_decode.config import RunConfig
from lls_decode.pipelines.running.interrupts import interruptible
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.run import run

if __name__ == "__main__":
    dataset, bundle, out, config = sys.argv[1:]
    plan = make_plan(dataset, bundle, out, RunConfig.model_validate_json(config))
    with interruptible(), connect("local", workers=1, dashboard_address="127.0.0.1:0") as client:  # as the command does
        result = run(plan, client)
    sys.exit(result.exit_status)
"""


@dataclass(frozen=True)
class World:
    """A folder with the datasets and model bundles of the tests."""

    folder: Path

    @property
    def movie(self) -> Path:
        """Dataset of 120 frames, with four frames in each chunk."""
        return self.folder / "movie.zarr"

    def bundle(self, context: str = "time") -> Path:
        return self.folder / f"{context}.lls"

    def plan(self, out: Path, *, dataset: Path | None = None, block_frames: int = 16, **changes: Any) -> Plan:
        return make_plan(dataset or self.movie, self.bundle(), out, run_config(block_frames, **changes))


def keys_of(client: Client, path: Path) -> dict[str, str]:
    """Write the keys of a cluster, and return the environment variables that make Dask find them in other processes."""
    security: Any = client.security
    path.write_text(security.tls_client_cert + security.tls_client_key)
    names = ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name in names}


def run_config(
    block_frames: int, *, dtype: str = "float32", execution: dict[str, Any] | None = None, **changes: Any
) -> RunConfig:
    return RunConfig(
        compute=ComputeConfig(device="cpu", threads=1, dtype=dtype),
        execution=ExecutionConfig(block_frames=block_frames, **(execution or {})),
        **changes,
    )


def write_movie(path: Path, shape: tuple[int, ...], *, dtype: str = "uint16", seed: int = 0) -> Path:
    frames = np.random.default_rng(seed).poisson(20, shape) + 100
    chunks = (4, *shape[1:]) if len(shape) == 3 else (1, *shape[1:])
    names = ["t", "y", "x"] if len(shape) == 3 else ["t", "z", "y", "x"]
    array = zarr.create_array(str(path), shape=shape, chunks=chunks, dtype=dtype, dimension_names=names)
    array[:] = frames.astype(dtype)
    return path


def write_bundle(path: Path, *, seed: int = 0, filters: int = 4, **network: Any) -> Path:
    """Write a model with random weights whose last layer makes about 2 % of all pixels detections."""
    torch.manual_seed(seed)
    config = NetworkConfig(filters=filters, **network)
    net = LocNet(config).eval()
    scaling = Scaling(input_scale=20, input_offset=20, photons=1000, z_nm=500, bg=50)
    frames = (torch.poisson(torch.full((8, HEIGHT, WIDTH), 20.0)) - 20) / 20
    windows = torch.arange(1, 7)[:, None] + torch.tensor([[-1, 0, 1]])
    last = net.heads["probability"].out_conv
    with torch.no_grad():
        noise = torch.ones(HEIGHT, WIDTH) if config.noise_map else None
        logits = net.decode(net.encode(frames, noise), windows).logit + 6
        last.weight.mul_(2 / logits.std())
        last.bias.fill_(float(-(logits.flatten()[:20_000] * 2 / logits.std()).quantile(0.97)))
    info = BundleInfo(
        name=path.stem,
        network=config,
        scaling=scaling,
        pixel_size=PixelSize(x_nm=100, y_nm=100),
        camera=CAMERA,
        psf=GaussianPsf(sigma_nm=130),
        geometry=stage_scan(3.27) if config.context == "plane" else None,
        z_range_nm=(-500, 500),
        photons_range=(100, 1000),
        bg_range=(1, 50),
    )
    save_bundle(path, net, info)
    return path


def stage_scan(shift_px: float, **changes: Any) -> Geometry:
    """Return the geometry of a stage scan that shifts by a number of pixels of 100 nm from plane to plane."""
    return Geometry(motion="stage", angle_deg=60, stage_step_nm=shift_px * 100 / np.cos(np.radians(60)), **changes)


def start_program(world: World, plan: Plan) -> "subprocess.Popen[bytes]":
    """Start a client with one worker in its own process and process group."""
    arguments = [plan.dataset, plan.bundle_path, str(plan.out), plan.config.model_dump_json()]
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT_PROGRAM, *arguments],
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )


def ledger(plan: Plan) -> list[dict[str, Any]]:
    path = plan.out / "ledger.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.01)


def shard_identities(plan: Plan) -> dict[str, tuple[int, int]]:
    """Return the inode and the modification time of each shard."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (plan.out / "shards").glob("b*.parquet")}


def assert_same_table(out: Path, undisturbed: Path) -> None:
    """Check that the merged tables in two run folders are equal."""
    found, expected = (pq.read_table(folder / "localizations.parquet") for folder in (out, undisturbed))
    assert found.num_rows > 1000
    assert found.equals(expected)


def assert_same_rows(found: Path | pa.Table, expected: Path | pa.Table) -> None:
    """Check that two tables hold the same localizations up to rounding."""
    one, other = (pq.read_table(item) if isinstance(item, Path) else item for item in (found, expected))
    assert one.num_rows == other.num_rows > 100
    assert one.column_names == other.column_names
    for name in one.column_names:
        np.testing.assert_allclose(one[name].to_numpy(), other[name].to_numpy(), rtol=1e-4, atol=1e-2, err_msg=name)


class Recorder:
    """Listener that keeps all events and calls a function when the n-th block is finished."""

    def __init__(self, at: int = 0, action: Callable[[], None] = lambda: None) -> None:
        self.events: list[Event] = []
        self._left = at
        self._action = action

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, BlockDone):
            self._left -= 1
            if self._left == 0:
                self._action()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def harmful(plan: Plan, folder: Path, charges: int, **manner: bool) -> Plan:
    """Return a plan whose block 5 harms its first ``charges`` readers."""
    from harmful_source import HarmfulSource

    folder.mkdir()
    for number in range(charges):
        (folder / str(number)).touch()
    values = {field.name: getattr(plan.source, field.name) for field in fields(FrameSource)}
    source = HarmfulSource(**values, charges=str(folder), **manner)
    return Plan(**{f.name: source if f.name == "source" else getattr(plan, f.name) for f in fields(Plan)})


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_movie(folder / "movie.zarr", (120, HEIGHT, WIDTH))
    write_bundle(folder / "time.lls", context="time")
    write_bundle(folder / "plane.lls", context="plane", shift_px=3)
    return World(folder)


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[ForkServer]":
    """Start a server that forks processes within milliseconds, which tests may kill (see `run_processes`)."""
    from .run_processes import ForkServer

    fork_server = ForkServer(tmp_path_factory.mktemp("fork_server"))
    yield fork_server
    fork_server.close()


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Return a client with two worker processes; tests may kill the workers, and their nannies restart them."""
    here = str(Path(__file__).parent)  # for harmful_source.py
    sys.path.append(here)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([here, before] if before else [here])
    with connect("local", workers=2, dashboard_address="127.0.0.1:0") as client:
        yield client
    os.environ["PYTHONPATH"] = before or ""
    sys.path.remove(here)


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Return a function that runs a command line and returns its exit status, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        code = end.value.code
        return (code if isinstance(code, int) else 0), out, err

    return call
