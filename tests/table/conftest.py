"""Fixtures of table tests: random rows, blocks, and file systems that are full or read-only."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lls_decode.axes import Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.table import schema

MakeRows = Callable[..., pa.Table]
MountDisk = Callable[[str], Path]


@pytest.fixture
def make_rows() -> MakeRows:
    """Return a function that makes unsorted random rows of a block in the canonical schema."""

    def make(
        block: Block, num_rows: int, *, seed: int = 0, with_sample: bool = True, with_channel: bool = False
    ) -> pa.Table:
        random = np.random.default_rng([seed, block.index])
        volume = random.integers(block.volume_start, block.volume_stop, num_rows)
        plane = random.integers(block.plane_start, block.plane_stop, num_rows)
        whole = {
            "frame": volume * block.planes_per_volume + plane,
            "volume": volume,
            "plane": plane,
            "group": np.full(num_rows, -1),
            "channel": np.arange(num_rows) % 3,
        }
        canonical = schema(with_sample, with_channel)
        columns = [
            pa.array(
                np.asarray(whole.get(f.name, random.uniform(0, 30_000, num_rows))).astype(f.type.to_pandas_dtype())
            )
            for f in canonical
        ]
        return pa.table(columns, schema=canonical)

    return make


@pytest.fixture
def blocks() -> tuple[Block, ...]:
    """Return six blocks of one volume each."""
    return plan_blocks(Layout(num_volumes=6, planes_per_volume=10, height=32, width=32), "plane", 10)


@pytest.fixture
def small_disk(mount_disk: MountDisk) -> Path:
    """Mount a file system of 64 kB."""
    return mount_disk("size=64k")


@pytest.fixture
def read_only_disk(mount_disk: MountDisk) -> Path:
    """Mount a file system on which not even root can write."""
    return mount_disk("ro")
