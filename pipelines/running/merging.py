"""Merge the shards of a run folder without running it, for example to another disk or without failed blocks."""

import time
from contextlib import nullcontext
from pathlib import Path

from lls_decode.outputs import guarded, note_read
from lls_decode.pipelines.journal.events import Merged
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.json_lines import EventWriter
from lls_decode.pipelines.journal.merged_table import file_checksum
from lls_decode.table import Manifest, merge_shards
from lls_decode.table.shards import SUFFIX


@guarded
def merge(out: str | Path, *, to: str | Path | None = None, allow_missing: bool = False) -> Manifest:
    """Merge the shards in a run folder into one table, every block exactly once.

    Parameters
    ----------
    out
        Run folder.
    to
        Path of the table; None: ``localizations.parquet`` in the run folder.
    allow_missing
        Merge even if blocks are missing, and list these in the metadata of the table.

    Raises
    ------
    InputError
        The folder contains no run.
    RunConflictError
        The table would be written into the run folder, which another program is using.
    ShardError
        A block is missing, or a shard is damaged.
    """
    folder = RunFolder(Path(out))
    record = folder.read_run()
    note_read(folder.record)
    for shard in folder.list_shards():
        note_read(folder.shards / f"{shard}{SUFFIX}")
    with folder.locked() if to is None else nullcontext():  # a table elsewhere does not disturb other programs
        if to is None:
            folder.remove_unfinished_table()
        started = time.monotonic()
        manifest = merge_shards(
            folder.shards,
            record.plan_blocks(),
            Path(to) if to is not None else folder.table,
            run_digest=record.run_digest,
            metadata=record.table_metadata,
            allow_missing=allow_missing,
            own_folder=to is None,
        )
        if to is None:
            _note(folder, manifest, time.monotonic() - started)
    return manifest


def _note(folder: RunFolder, manifest: Manifest, merge_s: float) -> None:
    """Record the merge in the events, so that later damage to the table can be detected."""
    events = EventWriter(folder.events)
    try:
        events(
            Merged(
                path=str(folder.table),
                rows=manifest.rows,
                missing_blocks=len(manifest.missing_blocks),
                merge_s=round(merge_s, 4),
                bytes=manifest.bytes,
                crc32=file_checksum(folder.table),
            )
        )
    finally:
        events.close()
