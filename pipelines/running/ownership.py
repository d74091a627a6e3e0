"""Whose an output folder is: its record ``run.json``, made by a first start, and what forbids another start.

Jobs that share a folder never append to the same file: each share has a lock, a ledger and events of its own, and a
shard is complete or absent. A share takes its own lock first and looks for excluding locks afterwards, so that two
shares that exclude each other never both continue. The first record is made by a hard link, which fails when a record
exists.
"""

import logging
import os
import socket
import time
from contextlib import suppress

from lls_decode.errors import InputError, OutputError, RunConflictError, ShardError
from lls_decode.pipelines.journal.events import BlockDone, BlockFailed
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.record import ModelRecord, RunRecord
from lls_decode.pipelines.planning.plan import Plan, differences
from lls_decode.table import ChannelInfo, TableMetadata, software_versions
from lls_decode.table.shards import SUFFIX, read_receipt

_PACKAGES = ("dask", "distributed", "torch", "zarr")

logger = logging.getLogger(__name__)


def take_ownership(plan: Plan, folder: RunFolder, *, force: bool) -> None:
    """Make the folder this run's, or refuse when it is another's."""
    conflict = find_conflict(plan, folder)
    if conflict is None:
        _rebuild_record(plan, folder)
    else:
        if not force:
            raise RunConflictError(conflict)
        other = _read_known_record(folder)
        logger.warning("discarding the run %s in %s", other.run_digest if other else "(unknown)", plan.out)
        folder.clear()
    record = _read_known_record(folder)
    if record is not None and folder.share and folder.has_others():
        return  # theirs is ours, but for the time of the start
    written = _make_record(plan, record)
    if record is not None or not folder.share:
        folder.write_record(written)
    elif not folder.write_first_record(written) and (conflict := find_conflict(plan, folder)) is not None:
        raise RunConflictError(conflict)


def _make_record(plan: Plan, before: RunRecord | None) -> RunRecord:
    """Return the record of a run that starts now."""
    now = time.time()
    return RunRecord(
        run_digest=plan.run_digest,
        dataset=plan.dataset,
        model=ModelRecord(path=plan.bundle_path, name=plan.bundle.name, digest=plan.bundle_digest),
        identity=dict(plan.identity),
        samples=plan.source.samples,
        config=plan.config,
        context=plan.bundle.network.context,
        layout=plan.layout,
        num_blocks=len(plan.blocks),
        table_metadata=table_metadata(plan),
        notes=plan.notes,
        software=software_versions(*_PACKAGES),
        created_at=now if before is None else before.created_at,
        started_at=now,
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def refuse_conflict(plan: Plan, *, force: bool) -> None:
    """Refuse a folder in which a run would not begin.

    Raises
    ------
    RunConflictError
        It holds another run, and that is not to be discarded; or a program works in it.
    """
    folder = RunFolder(plan.out)
    owner, conflict = folder.owner(), find_conflict(plan, folder)
    if owner is not None:
        raise RunConflictError(f"Folder {plan.out} is in use by {owner}; wait for it, or give another --out.")
    if conflict is not None and not force:
        raise RunConflictError(conflict)


def find_conflict(plan: Plan, folder: RunFolder) -> str | None:
    """Why a folder is not this run's; None when it is, or is nobody's."""
    advice = "give another --out, or --force to discard what is there"
    try:
        record = folder.read_record()
    except OutputError as error:
        if _shard_digests(folder) == {plan.run_digest}:
            return None  # and it is made again
        return f"{str(error).removesuffix('.')}, or --force to discard what is there."
    except InputError as error:
        return f"{str(error).removesuffix('.')}, or --force to discard it."
    if record is None:
        digests = _shard_digests(folder)
        if digests == {plan.run_digest}:
            return None
        if digests:
            return (
                f"{plan.out} has no run.json, and shards of another run ({', '.join(sorted(digests)[:3])}); {advice}."
            )
        return f"{folder.table} exists but {folder.record} does not; {advice}." if folder.table.exists() else None
    if record.run_digest != plan.run_digest:
        changes = "; ".join(differences(record.identity, plan.identity)) or "its record is damaged"
        return f"Folder {plan.out} holds another run ({changes}); {advice}."
    if not _same_data(plan, folder, record):
        return (
            f"{plan.dataset} is not the dataset of the run in {plan.out}: it is described alike, but all sampled "
            f"chunks differ; {advice}."
        )
    return None


def read_own_record(plan: Plan, folder: RunFolder) -> RunRecord | None:
    """Return the record in a folder if it is that of the plan's run; None if there is none, or it is another run's."""
    record = _read_known_record(folder)
    return record if record is not None and record.run_digest == plan.run_digest else None


def _read_known_record(folder: RunFolder) -> RunRecord | None:
    """Return the record in a folder; None if there is none, or it is damaged or one of another version."""
    try:
        return folder.read_record()
    except (InputError, OutputError):
        return None


def _rebuild_record(plan: Plan, folder: RunFolder) -> None:
    """Write the record of a folder that is this run's by all of its shards, where the record is gone or damaged."""
    try:
        if folder.read_record() is not None or not folder.list_shards():
            return
        what = "gone"
    except OutputError:
        what = "damaged"
    except InputError:
        return
    logger.warning("%s is %s, and all shards beside it are of this run: it is written again", folder.record, what)
    folder.write_record(_make_record(plan, None))


def _shard_digests(folder: RunFolder) -> set[str]:
    """Digests of the runs that the readable shards in a folder belong to."""
    found = set()
    for name in folder.list_shards():
        with suppress(ShardError):
            found.add(read_receipt(folder.shards / f"{name}{SUFFIX}").run_digest)
    return found


def _same_data(plan: Plan, folder: RunFolder, record: RunRecord) -> bool:
    """Whether a dataset of the same description is the same; a chunk repaired since then makes no other dataset."""
    before, now = record.samples, plan.source.samples
    if not before or set(before) & set(now):
        return True
    events, _ = folder.read_ledger()
    return any(
        (isinstance(event, BlockFailed) and event.cause in ("ChunkError", "InputError"))
        or (isinstance(event, BlockDone) and bool(event.lost))
        for event in events
    )


def table_metadata(plan: Plan) -> TableMetadata:
    """What the merged table says about itself."""
    return TableMetadata(
        pixel_size=plan.config.pixel_size,
        geometry=plan.config.geometry,
        camera=plan.config.camera,
        planes_per_volume=plan.layout.planes_per_volume,
        width=plan.layout.width,
        height=plan.layout.height,
        num_frames=plan.layout.num_frames,
        channels=(ChannelInfo(name=plan.source.channel_name),) if plan.source.channel_name else (),
        model_digest=plan.bundle_digest,
        model=plan.bundle.to_dict(),
        configuration=plan.config.to_dict(),
        run_digest=plan.run_digest,
        software=software_versions(*_PACKAGES),
        input={"path": plan.dataset, "array": plan.source.array, "identity": plan.source.identity},
    )
