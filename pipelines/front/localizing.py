"""Localize a dataset in this process, block by block, into one table."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from lls_decode.blocks import join_ranges
from lls_decode.frames import FrameStack
from lls_decode.models import RunConfigLike
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running.arithmetic import settle_here
from lls_decode.pipelines.running.ownership import table_metadata
from lls_decode.table import schema

from .datasets import DatasetLike, as_dataset


def localize(
    dataset: DatasetLike,
    model: str | Path,
    *,
    config: RunConfigLike = None,
    progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Localize a dataset in this process.

    While one block is localized, the next one is read, so that memory holds two blocks and all rows.

    Parameters
    ----------
    dataset
        A path or address, an opened dataset (`lls_decode.open`), or an array of NumPy, Dask, HDF5 or zarr with the axes
        ``(t, y, x)`` or ``(t, z, y, x)``, z being the planes of a volume.
    model
        Path of a bundle (``.lls``), or the name of a shipped one.
    config
        A `RunConfig`, a dictionary (nested or with dotted keys), or the path of a YAML file; None: the defaults.
    progress
        Called after each block with the number of finished blocks and the total number.

    Returns
    -------
    pyarrow.Table
        The canonical table, with the metadata of the merged table of a run.

    Raises
    ------
    InputError
        The dataset cannot be interpreted, or frames cannot be read.
    ConfigError, BundleError
        The configuration has an unknown key, or the model does not fit the data.
    """
    plan = settle_here(plan_here(dataset, model, config))
    tables = []
    for table in _localize_blocks(plan):
        tables.append(table)
        if progress is not None:
            progress(len(tables), len(plan.blocks))
    return as_merged(plan, pa.concat_tables(tables).combine_chunks())


def plan_here(dataset: DatasetLike, model: str | Path, config: RunConfigLike) -> Plan:
    """Return a plan without a run folder, and log its notes."""
    opened = as_dataset(dataset, config)
    plan = make_plan(opened.path, model, Path(), opened.config, source=opened.source, resumes=False)
    plan.log_notes()
    return plan


def as_merged(plan: Plan, table: pa.Table) -> pa.Table:
    """Return the rows of all blocks with the same metadata as the merged table of a run."""
    columns = schema(with_sample=plan.config.geometry is not None)
    frames = join_ranges((block.frame_range,) for block in plan.blocks)
    metadata = table_metadata(plan).with_columns(columns).replace(frames=frames)
    return table.replace_schema_metadata(metadata.to_schema_metadata())


def _localize_blocks(plan: Plan) -> Iterator[pa.Table]:
    from lls_decode.localize import build_localizer  # imports torch

    localizer = build_localizer(plan.bundle_path, plan.config, plan.layout)
    for stack in _read_ahead(plan):
        yield localizer.run(stack)


def _read_ahead(plan: Plan) -> Iterator[FrameStack]:
    """Yield the frames of each block, and read those of the next block in the background."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        ahead = reader.submit(plan.source.read, plan.blocks[0])
        for block in plan.blocks[1:]:
            stack = ahead.result()
            ahead = reader.submit(plan.source.read, block)
            yield stack
            del stack
        yield ahead.result()
