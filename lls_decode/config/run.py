"""One run over one dataset: what a user may say about input, camera, detection, machines."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lls_decode.axes import Layout
from lls_decode.config.base import Config, load
from lls_decode.config.camera import Camera, ScmosCamera
from lls_decode.config.detection import DetectionRule, ModelRule
from lls_decode.config.geometry import Geometry, PixelSize
from lls_decode.errors import ConfigError


class InputConfig(Config):
    """How a zarr store is read as volumes of planes."""

    array: str | None = None
    """Path of the array (or image group) inside the store; needed when there are several."""
    axes: str | None = Field(default=None, pattern="^[tczyx]+$")
    """Axes of the array, e.g. ``tzyx``; None: from the metadata, else from the number of dimensions."""
    channel: int | None = Field(default=None, ge=0)
    """Which channel; needed when there are several."""
    planes_per_volume: int | None = Field(default=None, ge=1)
    """For a flat stream (t, y, x): how many frames make a volume."""
    skip_first: int = Field(default=0, ge=0)
    """Frames dropped at the beginning of each volume (fly-back)."""
    skip_last: int = Field(default=0, ge=0)
    """Frames dropped at the end of each volume."""
    bidirectional: bool = False
    """Odd volumes were scanned backwards: their planes are reversed on reading."""


CPU_BATCH_PX = 1 << 16
"""Pixels in one forward pass on a CPU: larger batches are hardly faster there, and take more memory."""


class ComputeConfig(Config):
    """Where and how the network is computed. Only ``dtype`` may change a number of the result."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the arithmetic. ``float16`` is eight times as exact as ``bfloat16``; for GPUs, CPUs are slow at it."""
    batch_px: int | None = Field(default=None, gt=0)
    """Pixels in one forward pass (a frame at least); None: 65 536 on a CPU, on a GPU what its free memory holds."""
    tile_px: int = Field(default=0, ge=0)
    """Side of the tiles into which large frames are cut; 0: whole frames."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of one worker; None: the cores divided by the workers."""
    compile: bool | Literal["auto"] = "auto"
    """Whether the network is compiled (half a minute in each worker). ``auto``: on GPUs, for 20 Gpx and more."""


class ExecutionConfig(Config):
    """How the blocks of a run are executed."""

    block_frames: int = Field(default=512, ge=1)
    """Frames owned by one task."""
    retries: int = Field(default=2, ge=0)
    """How often a failed block is tried again before it is recorded and passed over."""
    in_flight_per_worker: int = Field(default=2, ge=1)
    """Tasks given to a worker at a time: one computes while the next one is read."""
    block_timeout_s: float = Field(default=3600.0, gt=0)
    """A block that takes longer than this has failed."""


class Roi(Config):
    """A rectangle of the stored frame, pixels: first and one-past-last."""

    x: tuple[int, int]
    y: tuple[int, int]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for axis in ("x", "y"):
            start, stop = getattr(self, axis)
            if not 0 <= start < stop:
                raise ValueError(
                    f"{axis} runs from {start} to {stop}; give the first pixel (from 0), then a larger one"
                )
        return self


class PartConfig(Config):
    """The part of a dataset that is localized; its rows are those that a run of the whole has there."""

    volumes: tuple[int | None, int | None] | None = None
    """First and one-past-last volume, as a slice of Python has them; frames keep their numbers."""
    roi: Roi | None = None
    """Pixels whose detections are kept; positions stay those in the whole frame."""

    def settle(self, layout: Layout) -> "PartConfig":
        """The same part of a dataset of this size, in plain numbers; None for all of it.

        Raises
        ------
        ConfigError
            The dataset has no such part.
        """
        volumes = self.volumes
        if volumes is not None:
            start, stop, _ = slice(*volumes).indices(layout.num_volumes)
            if start >= stop:
                raise ConfigError(
                    f"part.volumes {_or_open(volumes[0])}:{_or_open(volumes[1])} holds none of the dataset's "
                    f"{layout.num_volumes} volumes; give the first (from 0) and one past the last."
                )
            volumes = None if (start, stop) == (0, layout.num_volumes) else (start, stop)
        roi = self.roi
        if roi is not None:
            if roi.x[1] > layout.width or roi.y[1] > layout.height:
                raise ConfigError(
                    f"part.roi has pixels x {roi.x[0]}:{roi.x[1]}, y {roi.y[0]}:{roi.y[1]}, the frames have "
                    f"{layout.width} x {layout.height} (x, y); keep within them."
                )
            roi = None if (roi.x, roi.y) == ((0, layout.width), (0, layout.height)) else roi
        return PartConfig(volumes=volumes, roi=roi)

    def describe(self) -> str:
        """In words."""
        words = []
        if self.volumes is not None:
            words.append(f"volumes {_or_open(self.volumes[0])}:{_or_open(self.volumes[1])}")
        if self.roi is not None:
            words.append(f"pixels x {self.roi.x[0]}:{self.roi.x[1]}, y {self.roi.y[0]}:{self.roi.y[1]}")
        return ", ".join(words) or "all"


def _or_open(bound: int | None) -> str:
    return "" if bound is None else str(bound)


class RunConfig(Config):
    """Everything that one ``lls-decode run`` may be told; what is None is taken from the model bundle."""

    input: InputConfig = InputConfig()
    part: PartConfig = PartConfig()
    camera: Camera | None = None
    pixel_size: PixelSize | None = None
    geometry: Geometry | None = None
    detection: DetectionRule = ModelRule()
    compute: ComputeConfig = ComputeConfig()
    execution: ExecutionConfig = ExecutionConfig()


def load_run_config(path: str | Path) -> RunConfig:
    """Read a run configuration; camera maps are found relative to its folder."""
    config = load(RunConfig, path)
    if isinstance(config.camera, ScmosCamera):
        config = config.replace(camera=config.camera.resolve(Path(path).resolve().parent))
    return config
