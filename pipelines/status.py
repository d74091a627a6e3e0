"""How a run stands, from the files in its output folder alone: also while it runs, and after its machine has died."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lls_decode.blocks import Block

from .folder import RunFolder

State = Literal["running", "done", "incomplete"]


@dataclass(frozen=True)
class FailedBlock:
    """A block that was given up, and what is missing from the table because of it."""

    block_id: str
    frames: int
    volumes: tuple[int, int]
    """First and one-past-last volume."""
    planes: tuple[int, int]
    cause: str
    reason: str


@dataclass(frozen=True)
class RunStatus:
    """How a run stands."""

    out: str
    dataset: str
    model: str
    run_digest: str
    state: State
    """``incomplete``: nobody works at it, and blocks are missing or the table is; the same command goes on."""
    owner: str | None
    """Host and process that works at it."""
    blocks: int
    blocks_done: int
    blocks_failed: int
    blocks_left: int
    """Neither done nor failed."""
    frames: int
    frames_done: int
    frames_failed: int
    rows: int
    """Localizations in the shards that the ledger knows."""
    shard_bytes: int
    frames_per_s: float | None
    """Since the latest start; None before its first block."""
    rows_per_s: float | None
    left_s: float | None
    """Time to go at this rate."""
    read_s: float
    """Summed over blocks, as are the next two."""
    compute_s: float
    write_s: float
    retries: int
    table: str | None
    """The merged table, when it is there."""
    failed: tuple[FailedBlock, ...]
    broken_lines: int
    """Lines of the ledger that a killed process left unfinished."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)

    def describe(self) -> list[str]:
        """Lines for a person."""
        lines = [
            f"run        {self.run_digest} in {self.out}: {self.state}"
            + (f", {self.owner} works at it" if self.owner else ""),
            f"dataset    {self.dataset}",
            f"model      {self.model}",
            f"blocks     {self.blocks_done}/{self.blocks} done, {self.blocks_failed} failed, {self.blocks_left} left",
            f"frames     {self.frames_done}/{self.frames} done, {self.frames_failed} lost",
            f"rows       {self.rows} in {self.shard_bytes / 1e6:.1f} MB of shards",
        ]
        if self.frames_per_s is not None and self.rows_per_s is not None:
            left = f", {self.left_s:.0f} s to go" if self.left_s else ""
            lines.append(f"rate       {self.frames_per_s:.1f} frames/s, {self.rows_per_s:.0f} rows/s{left}")
        lines += [f"lost       {item.block_id}, {item.frames} frames: {item.reason}" for item in self.failed]
        lines.append(f"table      {self.table or 'not merged yet'}")
        return lines


def read_status(out: str | Path) -> RunStatus:
    """Read how the run in an output folder stands. Writes nothing.

    Raises
    ------
    InputError
        The folder holds no run.
    """
    folder = RunFolder(Path(out))
    record, blocks = folder.read_run()
    records, broken = folder.read_ledger()
    latest = {item["block"]: item for item in records if "block" in item}
    shards = folder.list_shards()
    done = [block for block in blocks if block.id in shards]
    failed = [block for block in blocks if block.id not in shards and _kind(latest.get(block.index)) == "BlockFailed"]
    receipts = [latest[block.index] for block in done if _kind(latest.get(block.index)) == "BlockDone"]
    frames, frames_done, frames_failed = (sum(block.num_owned for block in part) for part in (blocks, done, failed))
    frames_per_s, rows_per_s = _rates(receipts, since=float(record["started_at"]))
    owner = folder.owner()
    left = frames - frames_done - frames_failed
    merged = folder.table.exists()
    complete = merged and len(done) == len(blocks)
    return RunStatus(
        out=str(out),
        dataset=record["dataset"],
        model=f"{record['model']['name']} ({record['model']['path']})",
        run_digest=record["run_digest"],
        state="running" if owner else "done" if complete else "incomplete",
        owner=owner,
        blocks=len(blocks),
        blocks_done=len(done),
        blocks_failed=len(failed),
        blocks_left=len(blocks) - len(done) - len(failed),
        frames=frames,
        frames_done=frames_done,
        frames_failed=frames_failed,
        rows=sum(item["rows"] for item in receipts),
        shard_bytes=sum(item["bytes"] for item in receipts),
        frames_per_s=frames_per_s,
        rows_per_s=rows_per_s,
        left_s=left / frames_per_s if frames_per_s and owner else None,
        read_s=sum(item["read_s"] for item in receipts),
        compute_s=sum(item["compute_s"] for item in receipts),
        write_s=sum(item["write_s"] for item in receipts),
        retries=sum(max(0, item["attempts"] - 1) for item in latest.values()),
        table=str(folder.table) if merged else None,
        failed=tuple(_failed_block(block, latest[block.index]) for block in failed),
        broken_lines=broken,
    )


def _kind(record: Mapping[str, Any] | None) -> str | None:
    return None if record is None else record.get("event")


def _rates(receipts: list[dict[str, Any]], *, since: float) -> tuple[float | None, float | None]:
    """Frames and rows a second of the blocks that were computed since the latest start."""
    recent = [item for item in receipts if item["at"] >= since and item["attempts"] > 0]
    if not recent:
        return None, None
    seconds = max(max(item["at"] for item in recent) - since, 1e-3)
    return sum(item["frames"] for item in recent) / seconds, sum(item["rows"] for item in recent) / seconds


def _failed_block(block: Block, record: Mapping[str, Any]) -> FailedBlock:
    return FailedBlock(
        block_id=block.id,
        frames=block.num_owned,
        volumes=(block.volume_start, block.volume_stop),
        planes=(block.plane_start, block.plane_stop),
        cause=str(record.get("cause", "")),
        reason=str(record.get("reason", "")),
    )
