"""The plan of a run: dataset, model, configuration, blocks, and everything that determines the rows. No torch.

Everything that can be checked is checked here, before any worker is started. Values that the user did not set are taken
from the dataset or the model bundle, and each such choice is recorded as a note.

A part of a dataset is cut after the whole dataset is planned. Blocks of some volumes know the length of the dataset,
so that they read the same context as in a run over all of it. A region is a tile that owns few pixels and reads a
halo, so that the engine treats it like any tile. Volumes and region belong to the run digest, and are None when they
exclude nothing.
"""

import errno
import json
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lls_decode.addresses import is_address, refuse_remote_output
from lls_decode.axes import Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import (
    ABSENT_PX,
    CACHED_PX,
    CPU_BATCH_PX,
    Arithmetic,
    CompilationTarget,
    PartConfig,
    ResolvedRunConfig,
    describe_changes,
    digest,
)
from lls_decode.errors import InputError, OutputError, PlanError
from lls_decode.frames import FrameSource, open_source
from lls_decode.frames.storage.keys import METADATA
from lls_decode.frames.storage.stores import has_magic, is_collection, list_arrays
from lls_decode.model.info import BundleInfo, bundle_digest, read_bundle_info
from lls_decode.model.weights import check_weights
from lls_decode.models import RunConfigLike, as_run_config, find_bundle
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.record import MOST_BLOCKS
from lls_decode.system import real_path
from lls_decode.table import TABLE_VERSION
from lls_decode.table.files import output_error

from .camera_check import check_camera
from .compatibility import check_compatibility, note_thresholds, resolve_config

_PROCESS_BYTES = 700_000_000
"""Memory of an idle worker that has loaded torch and zarr."""
_FEATURE_MAPS = 24
"""Peak number of feature maps in memory, in units of the number of filters (measured: 19 to 23)."""
_NO_CHANGE_OF_ROWS: Mapping[str, tuple[str, ...]] = {
    "compute": ("device", "threads", "batch_px", "tile_px", "compile"),
    "input": ("trust", "absent", "storage"),
}
"""Configuration values that do not affect the rows, by section."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Complete, immutable description of a run. The same plan gives the same rows."""

    dataset: str
    bundle_path: str
    out: Path
    source: FrameSource = field(repr=False)
    bundle: BundleInfo = field(repr=False)
    config: ResolvedRunConfig
    blocks: tuple[Block, ...] = field(repr=False)
    identity: Mapping[str, Any] = field(repr=False)
    """Everything that determines the rows, as plain values; ``run_digest`` is its digest."""
    notes: tuple[str, ...]
    """Remarks for the user, such as the origin of values that the configuration did not set."""
    is_adopted: bool = False
    """Whether the configuration left the arithmetic open and that of the run in the folder was adopted."""

    @property
    def layout(self) -> Layout:
        """Size of the dataset."""
        return self.source.layout

    @property
    def bundle_digest(self) -> str:
        """Digest of the bundle's file."""
        return str(self.identity["model"])

    @cached_property
    def run_digest(self) -> str:
        """Digest of everything that determines the rows, sixteen hexadecimal digits."""
        return digest(self.identity)

    @property
    def is_open(self) -> bool:
        """Whether the arithmetic is not decided yet, because it depends on the hardware of the workers."""
        return self.config.compute.dtype == "auto"

    def with_dtype(self, dtype: Arithmetic, *notes: str, is_adopted: bool = False) -> "Plan":
        """Return the same plan with a given arithmetic, on which its rows and its digest depend."""
        config = self.config.replace(compute=self.config.compute.replace(dtype=dtype))
        identity = {**self.identity, "config": json.loads(json.dumps(_row_config(config)))}
        return replace(self, config=config, identity=identity, notes=(*self.notes, *notes), is_adopted=is_adopted)

    @cached_property
    def read_bytes(self) -> int:
        """Total uncompressed bytes that all blocks read, including context frames."""
        return sum(block.num_read for block in self.blocks) * self._frame_bytes

    @cached_property
    def worker_bytes(self) -> int:
        """Memory that one worker needs: its process, the blocks in flight, and one batch inside the network."""
        block_bytes = max(block.num_read for block in self.blocks) * self._frame_bytes
        batch_px = self._batch_px
        if not self.config.compute.tile_px:
            batch_px = max(batch_px, self.frame_px)
        batch_bytes = batch_px * 4 * self.bundle.network.filters * _FEATURE_MAPS
        return _PROCESS_BYTES + self.config.execution.in_flight_per_worker * block_bytes + batch_bytes

    @property
    def _batch_px(self) -> int:
        return self.config.compute.batch_px or CPU_BATCH_PX  # on a GPU a batch does not use the worker's own memory

    @property
    def _frame_bytes(self) -> int:
        return self.frame_px * int(np.dtype(self.source.dtype).itemsize)

    @property
    def frame_px(self) -> int:
        """Number of pixels that are read of each frame."""
        return self.compilation_target.height * self.compilation_target.width

    @property
    def compilation_target(self) -> CompilationTarget:
        """Properties of the run on which the compiled code of the network depends."""
        tile = self.source.tile
        height, width = (self.layout.height, self.layout.width) if tile is None else tile.read_size
        return CompilationTarget(self.bundle.network, height, width, self.config.compute.tile_px)

    def check_memory(self, limit_bytes: int) -> None:
        """Check that the blocks fit into the memory of a worker.

        Raises
        ------
        PlanError
            A worker needs more than ``limit_bytes``.
        """
        if self.worker_bytes > limit_bytes > 0:
            raise PlanError(
                f"A worker has {_bytes(limit_bytes)} of memory, but blocks of {self.config.execution.block_frames} "
                f"frames and batches of {self._batch_px} pixels need {_bytes(self.worker_bytes)}; lower "
                "execution.block_frames or compute.batch_px, set compute.tile_px, or use fewer, larger workers."
            )

    def log_notes(self) -> None:
        """Log the notes, for callers that do not print the description of the plan."""
        for note in self.notes:
            logger.info("%s", note)

    def describe(self) -> list[str]:
        """Return lines for ``--dry-run``: dataset, model, blocks and settings, and the state of the run folder."""
        size, pixel, execution = self.layout, self.config.pixel_size, self.config.execution
        geometry = self.config.geometry
        found = len(RunFolder(self.out).list_shards())
        return [
            f"dataset    {self.dataset}",
            f"layout     {size.num_volumes} volumes x {size.planes_per_volume} planes of {size.height} x {size.width} "
            f"pixels (y, x), {np.dtype(self.source.dtype).name}: {size.num_frames} frames",
            *self._describe_part(),
            f"blocks     {len(self.blocks)} of at most {max(block.num_owned for block in self.blocks)} frames, "
            f"{_bytes(self.read_bytes)} to read, {execution.in_flight_per_worker} in flight per worker, which needs "
            f"{_bytes(self.worker_bytes)} of memory",
            f"model      {self.bundle.name} ({self.bundle_path}), context {self.bundle.network.context}, "
            f"{self.bundle.describe_depth()}",
            f"detection  {self.config.detection.describe()}",
            f"arithmetic {self._describe_arithmetic()}",
            f"network    {self._describe_compilation()}",
            f"pixel      {pixel.x_nm:g} x {pixel.y_nm:g} nm (x, y)",
            f"geometry   {geometry.describe(pixel) if geometry is not None else 'unknown, no sample coordinates'}",
            *(f"note       {note}" for note in self.notes),
            f"output     {self.out}, {self._describe_output(found)}",
        ]

    def _describe_arithmetic(self) -> str:
        if self.is_open:
            return "auto: decided on the workers"
        return f"{self.config.compute.dtype}{', adopted from the run in the folder' if self.is_adopted else ''}"

    def _describe_compilation(self) -> str:
        """Return whether the network is compiled; with ``auto``, this depends on the workers."""
        wish = self.config.compute.compile
        if wish != "auto":
            return f"{'compiled' if wish else 'not compiled'} (compute.compile is {str(wish).lower()})"
        num_pixels = sum(block.num_owned for block in self.blocks) * self.frame_px
        return (
            f"auto: compiled on GPUs from {ABSENT_PX * 1e-9:g} Gpx per worker, or from {CACHED_PX * 1e-9:g} Gpx if "
            f"compiled code is cached; all blocks have {num_pixels * 1e-9:.2g} Gpx"
        )

    def _describe_part(self) -> list[str]:
        """Return a line that says which part of the dataset is processed; no line for the whole dataset."""
        part = self.config.part
        if part == PartConfig():
            return []
        frames = sum(block.num_owned for block in self.blocks)
        return [f"part       {part.describe()}: {frames} frames, of which {self.frame_px} pixels are read"]

    def _describe_output(self, found: int) -> str:
        try:
            record = RunFolder(self.out).read_record()
        except InputError:
            return "which contains a run of another version"
        except OutputError:
            return "which contains a run whose record (run.json) is damaged"
        if record is None:
            return "a new run"
        if (
            record.run_digest != self.run_digest
        ):  # also with an open arithmetic: else that of the record had been adopted
            changes = "; ".join(differences(record.identity, self.identity))
            return f"which contains another run ({changes})"
        return f"{found} of {len(self.blocks)} blocks are done"


def make_plan(
    dataset: str | Path,
    model: str | Path,
    out: str | Path,
    config: RunConfigLike = None,
    *,
    source: FrameSource | None = None,
    force: bool = False,
    resumes: bool = True,
) -> Plan:
    """Open dataset and bundle, complete the configuration, divide the dataset into blocks, and check the result.

    Parameters
    ----------
    dataset
        A zarr store, a folder of per-volume stores, a glob of them, or the address of one.
    model
        Path of a bundle, or the name of a shipped one.
    out
        Run folder.
    config
        A `RunConfig`, a dictionary (nested or with dotted keys), or the path of a YAML file; None: the defaults.
    source
        The dataset, if it is already open: the complete part of a growing dataset, or an array in memory.
    force
        Accept frames that the camera cannot have recorded.
    resumes
        Whether the plan may resume the run in the folder ``out``. If so, ``compute.dtype: auto`` becomes the arithmetic
        of that run.

    Raises
    ------
    InputError
        The dataset cannot be read as frames, or its frames are too small.
    OutputError
        The run folder is the dataset, or is inside it.
    ConfigError
        The configuration has an unknown key or an invalid value, or contradicts the dataset; or a camera map is absent,
        or its shape differs from that of a frame.
    BundleError
        The bundle does not exist; it was trained for another pixel size, plane-to-plane shift or kind of context; or
        the camera cannot have recorded the first frames.
    """
    refuse_remote_output(out)
    config, bundle_path = as_run_config(config), find_bundle(model)
    source = source or open_source(str(dataset), config.input)
    info = read_bundle_info(bundle_path)
    check_weights(bundle_path)
    _refuse_unusable_output(Path(out))
    _refuse_output_in_dataset(Path(out), source)
    resolved, notes = resolve_config(config, source, info)
    notes = [*source.notes, *notes, *note_thresholds(config.detection, info, bundle_path)]
    notes += check_compatibility(resolved, source.layout, info)
    notes += check_camera(resolved, source, info, force=force)
    layout = source.layout
    _check_number(layout, resolved.execution.block_frames, dataset)
    resolved = resolved.replace(part=resolved.part.settle(layout))
    blocks = plan_blocks(
        layout, info.network.context, resolved.execution.block_frames, volumes=resolved.part.volumes or (None, None)
    )
    if not blocks:
        raise InputError(
            f"{dataset} contains no frames (volumes {layout.num_volumes}, planes {layout.planes_per_volume})."
        )
    identity = {
        "input": source.description,
        "model": bundle_digest(bundle_path),
        "config": _row_config(resolved),
        "table_version": TABLE_VERSION,
    }
    plan = Plan(
        dataset=str(dataset),
        bundle_path=str(real_path(bundle_path)),
        out=Path(out),
        source=replace(source, tile=info.tile_of(resolved.part.roi, layout)),
        bundle=info,
        config=resolved,
        blocks=blocks,
        identity=json.loads(json.dumps(identity)),
        notes=tuple(notes),
    )
    return adopt_dtype(plan) if resumes else plan


def adopt_dtype(plan: Plan) -> Plan:
    """Give a plan with an open arithmetic that of the run in its folder, if nothing else differs from that run."""
    if not plan.is_open:
        return plan
    folder = RunFolder(plan.out)
    try:
        record = folder.read_record()
    except OutputError:
        record = None  # damaged: it will be rebuilt from the shards, like an absent one
    except InputError:
        return plan  # the error is reported when the folder is claimed
    digests = folder.shard_digests() if record is None else {record.run_digest}
    candidates: tuple[Any, ...] = get_args(Arithmetic) if record is None else (record.config.compute.dtype,)
    for dtype in candidates:
        adopted = plan.with_dtype(dtype, is_adopted=True)
        if not adopted.is_open and digests == {adopted.run_digest}:
            return adopted
    return plan


def _refuse_unusable_output(out: Path) -> None:
    """Refuse a run folder that cannot be created, because a part of its path is no folder."""
    for folder in (out, *out.absolute().parents):
        try:
            if stat.S_ISDIR(folder.stat().st_mode):
                return
        except FileNotFoundError:
            if folder.is_symlink():
                raise OutputError(
                    f"{out} cannot be written: {folder} is a link to a folder that does not exist; create that folder, "
                    "or choose another output folder."
                ) from None
            continue
        except OSError as error:
            raise output_error(out, error) from error
        raise output_error(out, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))


def _refuse_output_in_dataset(out: Path, source: FrameSource) -> None:
    """Refuse a run folder inside a dataset, where later runs could take its files for a part of the dataset."""
    if is_address(source.path):
        return
    final = real_path(out)
    for folder in (final, *final.parents):
        if any((folder / name).is_file() for name in METADATA):
            raise OutputError(
                f"{out} is, or is inside, the zarr store {folder}; results are never written into data: give an --out "
                "elsewhere."
            )
    if is_collection(source.path):
        beside = {real_path(folder) for folder in {Path(store).parent for store in list_arrays(source.path)}}
        matches = has_magic(source.path) and Path(os.path.abspath(out)).match(os.path.abspath(source.path))
        if final in beside or (matches and final.suffix == ".zarr"):
            raise OutputError(
                f"{out} is the folder of the stores of {source.path}, or would be taken for one of them; results are "
                "never written among data: give an --out elsewhere."
            )
    data = real_path(source.path)
    if final == data or (data.is_dir() and data in final.parents):
        raise OutputError(
            f"{out} is, or is inside, the dataset {source.path}; results are never written into data: give an --out "
            "elsewhere."
        )


def _check_number(layout: Layout, block_frames: int, dataset: str | Path) -> None:
    number = layout.num_frames // max(block_frames, 1)
    if number > MOST_BLOCKS:
        raise PlanError(
            f"{dataset} states {layout.num_frames:,} frames, which are {number:,} blocks of {block_frames}, but at "
            f"most {MOST_BLOCKS:,} blocks are expected; check its shape, or raise execution.block_frames."
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the differences between two identities as text: ``detection.accept: 0.7 -> 0.6``."""
    found = describe_changes(old, new)
    if new.get("config", {}).get("compute", {}).get("dtype") == "auto":
        found.pop("config.compute.dtype", None)  # an arithmetic that is still open does not count as a difference
    return [f"{key.removeprefix('config.')}: {change}" for key, change in found.items()]


def _row_config(config: ResolvedRunConfig) -> dict[str, Any]:
    """Return the part of a resolved configuration that determines the rows; camera maps are included by content."""
    data = config.to_dict()
    for part, names in _NO_CHANGE_OF_ROWS.items():
        for name in names:
            del data[part][name]
    data["execution"] = {"block_frames": data["execution"]["block_frames"]}
    assert config.camera is not None  # since the configuration is resolved
    data["camera"] = config.camera.identity()
    return data


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
