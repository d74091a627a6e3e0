"""Localize lazily as a Dask dataframe: one partition per block, computed by the user's own Dask scheduler."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.base import is_dask_collection
from dask.delayed import delayed
from distributed import default_client, get_worker

from lls_decode.blocks import Block
from lls_decode.errors import ConfigError
from lls_decode.frames.handles import ArraySource
from lls_decode.models import RunConfigLike
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running.arithmetic import ask_workers, settle_dtype, settle_here
from lls_decode.pipelines.running.submission import NO_WORKERS_S
from lls_decode.pipelines.running.tasks import Task, localize_block
from lls_decode.table import schema

from .datasets import DatasetLike
from .localizing import plan_here

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd


def to_dask_dataframe(dataset: DatasetLike, model: str | Path, *, config: RunConfigLike = None) -> "dd.DataFrame":
    """Return a Dask dataframe that localizes a dataset lazily, with one partition per block, in the order of the table.

    The blocks are computed by the Dask scheduler that is active when the dataframe is computed: threads, processes, or
    a `distributed.Client`, whose workers need access to the dataset and the model under the same paths. Each worker
    process loads the model once. The rows are the same as those of `lls_decode.localize`.

    Parameters
    ----------
    dataset, model, config
        As for `lls_decode.localize`. If the dataset is a Dask array, each block computes only the frames that it reads.

    Returns
    -------
    dask.dataframe.DataFrame

    Raises
    ------
    ConfigError
        pandas is not installed, or the configuration has an unknown key.
    InputError, BundleError
        The dataset cannot be interpreted, or the model does not fit the data.
    """
    try:
        import dask.dataframe as dd
    except ImportError as error:
        raise ConfigError(
            f"A Dask dataframe needs pandas, which cannot be imported ({error}); install it with "
            "pip install 'lls-decode[dataframe]', or use localize, which returns a pyarrow table."
        ) from error
    plan = _settle(plan_here(dataset, model, config))
    source, blocks = plan.source, plan.blocks
    travelling = _travelling(source)
    task = Task(
        block=blocks[0],
        source=replace(source, data=None) if isinstance(source, ArraySource) and not travelling else source,
        bundle_path=plan.bundle_path,
        bundle_digest=plan.bundle_digest,
        config=plan.config,
        shards="",
        run_digest=plan.run_digest,
    )
    shared = delayed(task, pure=False, traverse=False)
    partition = delayed(_partition, pure=False)
    parts = [
        partition(shared, block, None if travelling else list(source.cut(block)))  # type: ignore[attr-defined]
        for block in blocks
    ]
    meta = schema(with_sample=plan.config.geometry is not None).empty_table().to_pandas()
    rows: dd.DataFrame = dd.from_delayed(parts, meta=meta, verify_meta=False)
    return rows


def _settle(plan: Plan) -> Plan:
    """Return the plan with an arithmetic that the hardware supports.

    The hardware is that of the workers of the active client, or of this process if no client is active.
    """
    try:
        client = default_client()
    except ValueError:
        return settle_here(plan)
    if not plan.is_open:
        return plan
    return settle_dtype(plan, ask_workers(client, plan, check=lambda: None, patience_s=NO_WORKERS_S))


def _travelling(source: Any) -> bool:
    """Whether each task can carry the whole source, because the source holds only a path, a store or a file handle."""
    return not isinstance(source, ArraySource) or not (
        is_dask_collection(source.data) or hasattr(source.data, "__array_interface__")
    )


def _partition(task: Task, block: Block, parts: list[Any] | None) -> "pd.DataFrame":
    """Return the rows of one block; ``parts`` are the pieces of an array that the block reads."""
    source = task.source
    if parts is not None:
        assert isinstance(source, ArraySource)
        source = source.holding(block, tuple(parts))
    compute = task.config.compute.replace(threads=task.config.compute.threads or _threads())
    task = replace(task, block=block, source=source, config=task.config.replace(compute=compute))
    return localize_block(task).to_pandas()


def _threads() -> int | None:
    """Return the number of threads of the current Dask worker; None outside of a worker."""
    try:
        return int(get_worker().state.nthreads)
    except ValueError:
        return None
