"""The plan of a run: what is read, by which model, cut into which blocks, and what determines the rows. No torch.

Everything that can be refused is refused here, before a worker is asked for. What the user did not say is taken from
the dataset or the model bundle, and each such choice is a note in words.

A part of a dataset is cut after the whole dataset is planned. Blocks of some volumes know the length of the dataset,
so that they read the same context as in a run over all of it. A region is a tile that owns few pixels and reads a
halo, so that the engine treats it like any tile. Volumes and region belong to the run digest, and are None when they
exclude nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.addresses import is_address, refuse_remote_output
from lls_decode.axes import Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import CPU_BATCH_PX, Arithmetic, PartConfig, ResolvedRunConfig, digest
from lls_decode.errors import InputError, OutputError, PlanError
from lls_decode.frames import FrameSource, open_source
from lls_decode.frames.storage.keys import METADATA
from lls_decode.model.info import BundleInfo, bundle_digest, read_bundle_info
from lls_decode.model.weights import check_weights
from lls_decode.models import RunConfigLike, as_run_config, find_bundle
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.table import TABLE_VERSION

from .camera_check import check_camera
from .compatibility import check_compatibility, resolve_config

MOST_BLOCKS = 2_000_000
"""Twenty times a run of 10 million frames; more would fill the client's memory with plans."""
_PROCESS_BYTES = 700_000_000
"""A worker with torch and zarr loaded and nothing to do."""
_FEATURE_MAPS = 24
"""Maps of the first stage's width that are alive at the widest place of the network (measured: 19 to 23)."""
_NO_CHANGE_OF_ROWS: Mapping[str, tuple[str, ...]] = {
    "compute": ("device", "threads", "batch_px", "tile_px", "compile"),
    "input": ("trust", "absent", "storage"),
}


@dataclass(frozen=True)
class Plan:
    """A run before it starts. Frozen: the same plan gives the same rows."""

    dataset: str
    bundle_path: str
    out: Path
    source: FrameSource = field(repr=False)
    bundle: BundleInfo = field(repr=False)
    config: ResolvedRunConfig
    blocks: tuple[Block, ...] = field(repr=False)
    identity: Mapping[str, Any] = field(repr=False)
    """What determines the rows, as plain values; ``run_digest`` is its digest."""
    notes: tuple[str, ...]
    is_adopted: bool = False
    """The arithmetic was left open, and is that of the run in the folder."""

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
        """Sixteen hexadecimal digits that change when any row might."""
        return digest(self.identity)

    @property
    def is_open(self) -> bool:
        """Whether the arithmetic is still to be decided, by the machines that compute."""
        return self.config.compute.dtype == "auto"

    def with_dtype(self, dtype: Arithmetic, *notes: str, is_adopted: bool = False) -> "Plan":
        """Return the same plan in an arithmetic, which its rows and its digest depend on."""
        config = self.config.replace(compute=self.config.compute.replace(dtype=dtype))
        identity = {**self.identity, "config": json.loads(json.dumps(_row_config(config)))}
        return replace(self, config=config, identity=identity, notes=(*self.notes, *notes), is_adopted=is_adopted)

    @cached_property
    def read_bytes(self) -> int:
        """Uncompressed bytes that all blocks read together, context included."""
        return sum(block.num_read for block in self.blocks) * self._frame_bytes

    @cached_property
    def worker_bytes(self) -> int:
        """Memory that one worker needs: the blocks in flight, and one batch inside the network."""
        block_bytes = max(block.num_read for block in self.blocks) * self._frame_bytes
        batch_px = self._batch_px
        if not self.config.compute.tile_px:
            batch_px = max(batch_px, self._frame_px)
        batch_bytes = batch_px * 4 * self.bundle.network.filters * _FEATURE_MAPS
        return _PROCESS_BYTES + self.config.execution.in_flight_per_worker * block_bytes + batch_bytes

    @property
    def _batch_px(self) -> int:
        return self.config.compute.batch_px or CPU_BATCH_PX  # of a GPU the memory is not the worker's

    @property
    def _frame_bytes(self) -> int:
        return self._frame_px * int(np.dtype(self.source.dtype).itemsize)

    @property
    def _frame_px(self) -> int:
        """Pixels that are read of a frame."""
        tile = self.source.tile
        if tile is None:
            return self.layout.height * self.layout.width
        return (tile.read_y_stop - tile.read_y_start) * (tile.read_x_stop - tile.read_x_start)

    def check_memory(self, limit_bytes: int) -> None:
        """Refuse blocks that do not fit into a worker.

        Raises
        ------
        PlanError
            A worker needs more than ``limit_bytes``.
        """
        if self.worker_bytes > limit_bytes > 0:
            raise PlanError(
                f"A worker has {_bytes(limit_bytes)} of memory, but blocks of {self.config.execution.block_frames} "
                f"frames and batches of {self._batch_px} pixels need {_bytes(self.worker_bytes)}; lower "
                "execution.block_frames or compute.batch_px, set compute.tile_px, or use fewer and larger workers."
            )

    def describe(self) -> list[str]:
        """Lines for ``--dry-run``: what would be done, with what, and what exists already."""
        size, pixel, execution = self.layout, self.config.pixel_size, self.config.execution
        geometry = self.config.geometry
        found = len(RunFolder(self.out).list_shards())
        return [
            f"dataset    {self.dataset}",
            f"layout     {size.num_volumes} volumes x {size.planes_per_volume} planes of {size.height} x {size.width} "
            f"pixels (y, x), {np.dtype(self.source.dtype).name}: {size.num_frames} frames",
            *self._describe_part(),
            f"blocks     {len(self.blocks)} of at most {max(block.num_owned for block in self.blocks)} frames, "
            f"{_bytes(self.read_bytes)} to read, {execution.in_flight_per_worker} in flight a worker, which needs "
            f"{_bytes(self.worker_bytes)}",
            f"model      {self.bundle.name} ({self.bundle_path}), context {self.bundle.network.context}, "
            f"z {self.bundle.z_range_nm[0]:g} to {self.bundle.z_range_nm[1]:g} nm",
            f"detection  {self.config.detection.describe()}",
            f"arithmetic {self._describe_arithmetic()}",
            f"pixel      {pixel.x_nm:g} x {pixel.y_nm:g} nm (x, y)",
            f"geometry   {geometry.describe(pixel) if geometry is not None else 'unknown, no sample coordinates'}",
            *(f"note       {note}" for note in self.notes),
            f"output     {self.out}, {self._describe_output(found)}",
        ]

    def _describe_arithmetic(self) -> str:
        if self.is_open:
            return "auto: decided on the workers"
        return f"{self.config.compute.dtype}{', that of the run in the folder' if self.is_adopted else ''}"

    def _describe_part(self) -> list[str]:
        """What is left out of the dataset; nothing when nothing is."""
        part = self.config.part
        if part == PartConfig():
            return []
        frames = sum(block.num_owned for block in self.blocks)
        return [f"part       {part.describe()}: {frames} frames, of which {self._frame_px} pixels are read"]

    def _describe_output(self, found: int) -> str:
        try:
            record = RunFolder(self.out).read_record()
        except InputError:
            return "which holds a run of another version"
        except OutputError:
            return "which holds a run whose record (run.json) is damaged"
        if record is None:
            return "a new run"
        if record.run_digest != self.run_digest:  # also where its arithmetic is open: it would be the record's
            changes = "; ".join(differences(record.identity, self.identity))
            return f"which holds another run ({changes})"
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
    """Open dataset and bundle, settle what the configuration left open, cut into blocks, and check.

    Parameters
    ----------
    dataset
        A zarr store, a directory of per-volume stores, or a glob of them.
    model
        Path of a bundle, or the name of a shipped one.
    out
        Run folder.
    config
        A `RunConfig`, a dictionary (nested or with dotted keys), or the path of a YAML file; None: the defaults.
    source
        The dataset when it is open already: one that grows, as far as it is complete, or an array in memory.
    force
        Also plan for frames that the camera cannot have recorded.
    resumes
        Whether the plan is for the run folder ``out``, whose run keeps its arithmetic (``compute.dtype: auto``).

    Raises
    ------
    InputError
        The dataset cannot be read as frames, or its frames are too small.
    OutputError
        The run folder is the dataset, or lies in it.
    ConfigError
        The configuration has an unknown key or an impossible value, or contradicts the dataset; a camera map is absent,
        or has another shape than a frame.
    BundleError
        There is no such bundle; it was made for another pixel size, plane-to-plane shift or kind of context; or the
        light of the first frames is impossible with this camera.
    """
    refuse_remote_output(out)
    config, bundle_path = as_run_config(config), find_bundle(model)
    source = source or open_source(str(dataset), config.input)
    info = read_bundle_info(bundle_path)
    check_weights(bundle_path)
    _refuse_output_in_dataset(Path(out), source)
    resolved, notes = resolve_config(config, source, info)
    notes = [*source.notes, *notes, *check_compatibility(resolved, source.layout, info)]
    notes += check_camera(resolved, source, info, force=force)
    layout = source.layout
    _check_number(layout, resolved.execution.block_frames, dataset)
    resolved = resolved.replace(part=resolved.part.settle(layout))
    blocks = plan_blocks(
        layout, info.network.context, resolved.execution.block_frames, volumes=resolved.part.volumes or (None, None)
    )
    if not blocks:
        raise InputError(
            f"{dataset} holds no frames (volumes {layout.num_volumes}, planes {layout.planes_per_volume})."
        )
    identity = {
        "input": source.description,
        "model": bundle_digest(bundle_path),
        "config": _row_config(resolved),
        "table_version": TABLE_VERSION,
    }
    plan = Plan(
        dataset=str(dataset),
        bundle_path=str(bundle_path.resolve()),
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
    """Settle the open arithmetic of a plan as that of the run in its folder, if nothing else differs from that run."""
    if not plan.is_open:
        return plan
    try:
        record = RunFolder(plan.out).read_record()
    except (InputError, OutputError):
        return plan  # said where the folder is claimed
    if record is None or record.config.compute.dtype == "auto":
        return plan
    adopted = plan.with_dtype(record.config.compute.dtype, is_adopted=True)
    return adopted if adopted.run_digest == record.run_digest else plan


def _refuse_output_in_dataset(out: Path, source: FrameSource) -> None:
    """Refuse to write among the files of a store, which a later look would take for a part of the dataset."""
    if is_address(source.path):
        return
    final = out.resolve()
    for folder in (final, *final.parents):
        if any((folder / name).is_file() for name in METADATA):
            raise OutputError(
                f"{out} is, or lies in, the zarr store {folder}; results are written beside data, never into them: "
                "give an --out elsewhere."
            )
    data = Path(source.path).resolve()
    if final == data or (data.is_dir() and data in final.parents):
        raise OutputError(
            f"{out} is, or lies in, the dataset {source.path}; results are written beside data, never into them: "
            "give an --out elsewhere."
        )


def _check_number(layout: Layout, block_frames: int, dataset: str | Path) -> None:
    number = layout.num_frames // max(block_frames, 1)
    if number > MOST_BLOCKS:
        raise PlanError(
            f"{dataset} announces {layout.num_frames:,} frames, which are {number:,} blocks of {block_frames}, "
            f"expected at most {MOST_BLOCKS:,}; check its shape, or raise execution.block_frames."
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, in words: ``detection.accept: 0.7 -> 0.6``."""
    before, after = _flatten(old), _flatten(new)
    keys = [key for key in {**before, **after} if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
    if after.get(_DTYPE) == "auto":  # which is open, and no difference
        keys = [key for key in keys if key != _DTYPE]
    return [
        f"{key.removeprefix('config.')}: {_word(before.get(key, _ABSENT))} -> {_word(after.get(key, _ABSENT))}"
        for key in sorted(keys)
    ]


def _row_config(config: ResolvedRunConfig) -> dict[str, Any]:
    """The part of a resolved configuration that rows depend on; camera maps by content."""
    data = config.to_dict()
    for part, names in _NO_CHANGE_OF_ROWS.items():
        for name in names:
            del data[part][name]
    data["execution"] = {"block_frames": data["execution"]["block_frames"]}
    assert config.camera is not None  # resolved
    data["camera"] = config.camera.identity()
    return data


_ABSENT = object()
_DTYPE = "config.compute.dtype"


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def _word(value: Any) -> str:
    return "(absent)" if value is _ABSENT else str(value)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
