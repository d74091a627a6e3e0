"""Run folders written by tests instead of a run, with a record, lines of a ledger, and shards."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.axes import Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import ExecutionConfig, PixelSize, ResolvedRunConfig, ScmosCamera
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.record import ModelRecord, RunRecord
from lls_decode.table import TableMetadata, schema, write_shard


@dataclass
class Folder:
    """The folder of a run that started some time ago."""

    out: Path
    blocks: tuple[Block, ...]
    started_at: float

    def write(self, name: str, *records: dict[str, Any]) -> None:
        with (self.out / name).open("a") as file:
            file.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in records)

    def done(self, index: int, after_s: float, *, rows: int = 10, worker: str = "tcp://w:1", **more: Any) -> None:
        """Write the ledger line and an empty shard of a block that was finished ``after_s`` after the start."""
        (self.out / "shards" / f"{self.blocks[index].id}.parquet").touch()
        times = {"read_s": 0.5, "start_s": 0.0, "compute_s": 1.0, "write_s": 0.0}
        self.write(
            "ledger.jsonl",
            {"event": "BlockDone", "at": self.started_at + after_s, "block": index, "block_id": self.blocks[index].id,
             "frames": self.blocks[index].num_owned, "rows": rows, "bytes": 100, "attempts": 1, **times,
             "worker": worker, "pid": 7, **more},
        )  # fmt: skip

    def failed(self, index: int, after_s: float, reason: str = "Chunk c/3 is truncated.") -> None:
        block = self.blocks[index]
        self.write(
            "ledger.jsonl",
            {"event": "BlockFailed", "at": self.started_at + after_s, "block": index, "block_id": block.id,
             "frames": block.num_owned, "volumes": [block.volume_start, block.volume_stop],
             "planes": [block.plane_start, block.plane_stop], "attempts": 3, "cause": "ChunkError", "reason": reason},
        )  # fmt: skip

    def event(self, kind: str, after_s: float, **values: Any) -> None:
        self.write("events.jsonl", {"event": kind, "at": self.started_at + after_s, **values})

    def shard(self, index: int, x_nm: npt.ArrayLike, y_nm: npt.ArrayLike, z_nm: npt.ArrayLike) -> None:
        """Write a real shard with emitters in the first frame of its block."""
        block, positions = self.blocks[index], {"x_nm": x_nm, "y_nm": y_nm, "z_nm": z_nm}
        number = len(np.asarray(x_nm))
        values = {"volume": block.volume_start, "plane": block.plane_start, "group": -1, **positions}
        canonical = schema(with_sample=False)
        columns = [
            pa.array(np.broadcast_to(values.get(field.name, 1), number).astype(field.type.to_pandas_dtype()))
            for field in canonical
        ]
        write_shard(pa.table(columns, schema=canonical), block, self.out / "shards", run_digest="abc")


def make_record(layout: Layout, *, started_at: float = 1000.0, block_frames: int = 4) -> RunRecord:
    """Return the record of a run with the default configuration and pixels of 100 nm."""
    config = ResolvedRunConfig(
        camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0),
        execution=ExecutionConfig(block_frames=block_frames),
        pixel_size=PixelSize(x_nm=100.0, y_nm=100.0),
    )
    return RunRecord(
        run_digest="abc", dataset="cell.zarr", model=ModelRecord(path="m.lls", name="m", digest="def"),
        identity={}, samples=(), config=config, context="plane", layout=layout,
        num_blocks=len(plan_blocks(layout, "plane", block_frames)), table_metadata=TableMetadata(), notes=(),
        software={}, created_at=started_at, started_at=started_at, host="here", pid=1,
    )  # fmt: skip


def make_folder(out: Path, *, volumes: int = 6, planes: int = 4, block_frames: int = 4) -> Folder:
    layout = Layout(num_volumes=volumes, planes_per_volume=planes, height=40, width=60)
    record = make_record(layout, started_at=time.time() - 1000, block_frames=block_frames)
    (out / "shards").mkdir(parents=True)
    RunFolder(out).write_record(record)
    return Folder(out, record.plan_blocks(), record.started_at)
