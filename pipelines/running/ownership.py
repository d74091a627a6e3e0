"""Ownership of a run folder: write its record ``run.json``, and refuse a folder that belongs to another run.

Jobs that share a folder never append to the same file: each share has a lock, a ledger and events of its own, and a
shard is complete or absent. A share takes its own lock first and looks for excluding locks afterwards, so that two
shares that exclude each other never both continue. The first record is made by a hard link, which fails when a record
exists.
"""

import logging
import os
import socket
import time

from lls_decode.errors import InputError, OutputError, RunConflictError
from lls_decode.pipelines.journal.events import BlockDone, BlockFailed
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.record import ModelRecord, RunRecord
from lls_decode.pipelines.planning.plan import Plan, differences
from lls_decode.table import ChannelInfo, TableMetadata, software_versions

_PACKAGES = ("dask", "distributed", "torch", "zarr")

logger = logging.getLogger(__name__)


def take_ownership(plan: Plan, folder: RunFolder, *, force: bool) -> None:
    """Claim a folder for a run by writing its record.

    If the folder belongs to another run, that run is discarded with ``force``, and RunConflictError is raised without.
    """
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
        return  # the record of the other jobs differs only in the time of the start
    written = _make_record(plan, record)
    if record is not None or not folder.share:
        folder.write_record(written)
    elif not folder.write_first_record(written) and (conflict := find_conflict(plan, folder)) is not None:
        raise RunConflictError(conflict)


def _make_record(plan: Plan, before: RunRecord | None) -> RunRecord:
    """Return the record of a run that starts now; it keeps the time of the first start of ``before``."""
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
    """Check that a run could start in its folder. Writes nothing.

    Raises
    ------
    RunConflictError
        The folder contains another run and ``force`` is not set, or another program is using the folder.
    """
    folder = RunFolder(plan.out)
    owner, conflict = folder.owner(), find_conflict(plan, folder)
    if owner is not None:
        raise RunConflictError(f"Folder {plan.out} is in use by {owner}; wait for it, or give another --out.")
    if conflict is not None and not force:
        raise RunConflictError(conflict)


def find_conflict(plan: Plan, folder: RunFolder) -> str | None:
    """Return why a folder belongs to another run; None if it belongs to this run, or to none."""
    advice = "give another --out, or --force to discard its contents"
    try:
        record = folder.read_record()
    except OutputError as error:
        if folder.shard_digests() == {plan.run_digest}:
            return None  # the record will be rebuilt
        return f"{str(error).removesuffix('.')}, or --force to discard its contents."
    except InputError as error:
        return f"{str(error).removesuffix('.')}, or --force to discard it."
    if record is None:
        digests = folder.shard_digests()
        if digests == {plan.run_digest}:
            return None
        if digests:
            return f"{plan.out} has no run.json but shards of another run ({', '.join(sorted(digests)[:3])}); {advice}."
        return f"{folder.table} exists but {folder.record} does not; {advice}." if folder.table.exists() else None
    if record.run_digest != plan.run_digest:
        changes = "; ".join(differences(record.identity, plan.identity)) or "its record is damaged"
        return f"Folder {plan.out} contains another run ({changes}); {advice}."
    if not _same_data(plan, folder, record):
        return (
            f"{plan.dataset} is not the dataset of the run in {plan.out}: its metadata are the same, but all sampled "
            f"chunks differ; {advice}."
        )
    return None


def read_own_record(plan: Plan, folder: RunFolder) -> RunRecord | None:
    """Return the record in a folder if it belongs to the run of the plan; else None."""
    record = _read_known_record(folder)
    return record if record is not None and record.run_digest == plan.run_digest else None


def _read_known_record(folder: RunFolder) -> RunRecord | None:
    """Return the record in a folder; None if it is absent, damaged, or was written by another version."""
    try:
        return folder.read_record()
    except (InputError, OutputError):
        return None


def _rebuild_record(plan: Plan, folder: RunFolder) -> None:
    """Rewrite an absent or damaged record in a folder whose shards all belong to this run."""
    try:
        if folder.read_record() is not None or not folder.list_shards():
            return
        what = "missing"
    except OutputError:
        what = "damaged"
    except InputError:
        return
    logger.warning("%s is %s; it is rewritten, because all shards belong to this run", folder.record, what)
    folder.write_record(_make_record(plan, None))


def _same_data(plan: Plan, folder: RunFolder, record: RunRecord) -> bool:
    """Whether a dataset with the same metadata is the dataset of the recorded run, judged by sampled chunks.

    If all samples differ, it is still the same dataset if the run lost frames, since chunks may have been repaired.
    """
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
    """Return the metadata of the merged table."""
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
