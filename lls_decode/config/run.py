"""Configuration of one run over one dataset: input, camera, detection and execution."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lls_decode.axes import IndexRange, Layout, range_text
from lls_decode.config.base import Config, load, parse
from lls_decode.config.cameras import Camera
from lls_decode.config.detection import DetectionRule, ModelRule
from lls_decode.config.geometry import CameraPixel, Geometry, PixelSize
from lls_decode.errors import ConfigError
from lls_decode.system import real_path

AbsentChunks = Literal["lost", "fill"]
Arithmetic = Literal["float32", "bfloat16", "float16"]


class StorageConfig(Config):
    """Access to a remote store (``s3://``, ``gs://``); credentials come from the environment only."""

    endpoint: str | None = None
    """Address of the service, e.g. ``https://minio.example.org:9000``; None: ``AWS_ENDPOINT_URL`` if set, else the
    public service."""
    region: str | None = None
    """Region of an S3 bucket; None: ``AWS_REGION`` if set, else ``us-east-1``."""
    anonymous: bool = False
    """Whether to access the store without credentials, as for public buckets."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.endpoint is not None and not re.fullmatch(r"https?://[^/@?#]+/?", self.endpoint):
            raise ValueError(
                "endpoint is not a plain address; expected https://HOST or https://HOST:PORT, without a user name, a "
                "password, a path or a query"
            )
        return self


class InputConfig(Config):
    """Reading of a zarr store as volumes of planes."""

    array: str | None = Field(default=None, max_length=1000)
    """Path of the array (or image group) inside the store; required if there are several. None: the only one."""
    axes: str | None = Field(default=None, pattern="^[a-z]+$")
    """Axes of the array, e.g. ``tzyx``; None: from the metadata, or else from the number of dimensions. Letters other
    than t, c, z, y and x name additional axes, on which ``select`` chooses an index."""
    channel: int | None = Field(default=None, ge=0)
    """Index of the channel (from 0); required if there are several. None: the only one."""
    select: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Index (from 0) on each additional axis, e.g. ``{p: 0}`` for the first position; required for axes with several
    entries."""
    planes_per_volume: int | None = Field(default=None, ge=1)
    """Number of frames per volume in a flat stream (t, y, x); None: from the dataset."""
    skip_first: int = Field(default=0, ge=0)
    """Number of frames to drop at the beginning of each volume (fly-back)."""
    skip_last: int = Field(default=0, ge=0)
    """Number of frames to drop at the end of each volume."""
    bidirectional: bool = False
    """Whether odd volumes were scanned backwards, so that their planes are reversed on reading."""
    absent: AbsentChunks = "lost"
    """Treatment of chunks that are missing in the store. ``lost``: their frames count as lost. ``fill``: they hold the
    fill value, for stores whose writer omits such chunks."""
    allow_gaps: bool = False
    """Whether to read a folder or glob of stores although their names show that some are missing; the volumes before
    and after a gap then follow each other."""
    trust: Literal["configuration"] | None = None
    """Source to use if the configuration and the dataset contradict each other in a size. None: the run is refused."""
    storage: StorageConfig = StorageConfig()


OTHER_DEVICES = {
    "rocm": "GPUs of AMD (ROCm) are called 'cuda', as in torch",
    "hip": "GPUs of AMD (ROCm) are called 'cuda', as in torch",
    "gpu": "GPUs are called 'cuda', those of AMD (ROCm) too",
    "mps": "the GPU of a Mac (MPS) is not supported, because the network is not tested on it; use 'cpu'",
}
"""Names of devices that users may expect, and why they are refused."""
CPU_BATCH_PX = 1 << 16
"""Number of pixels in one forward pass on a CPU; larger batches are hardly faster and take more memory."""


class ComputeConfig(Config):
    """Where and how the network is computed; only ``dtype`` may change the results."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that the network runs on. ``auto``: a GPU if there is one, else the CPU."""
    dtype: Literal["auto", Arithmetic] = "auto"
    """Number format of the network. ``auto``: ``float16`` on GPUs, ``bfloat16`` on CPUs with hardware support for it,
    else ``float32``; chosen once per run, on its workers, and kept when the run is resumed."""
    batch_px: int | None = Field(default=None, gt=0)
    """Number of pixels in one forward pass, at least one frame; None: 65 536 on a CPU; on a GPU, as many as fit into
    its free memory."""
    tile_px: int = Field(default=0, ge=0)
    """Side of the tiles into which large frames are divided, pixels; 0: whole frames."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Number of CPU threads of one worker; None: the number of cores divided by the number of workers."""
    compile: bool | Literal["auto"] = "auto"
    """Whether to compile the network, which takes half a minute in the first worker; later workers and runs find the
    compiled code in a cache. ``auto``: only on GPUs, from 6 Gpx per worker, or from 0.6 Gpx if compiled code is
    cached."""

    @field_validator("device", mode="before")
    @classmethod
    def _explain_device(cls, value: Any) -> Any:
        if isinstance(value, str) and value in OTHER_DEVICES:
            raise ValueError(OTHER_DEVICES[value])
        return value


class ExecutionConfig(Config):
    """Execution of the blocks of a run."""

    block_frames: int = Field(default=512, ge=1)
    """Number of frames per task."""
    retries: int = Field(default=2, ge=0)
    """Number of times that a failed block is retried before it is recorded as failed and skipped."""
    in_flight_per_worker: int = Field(default=2, ge=1)
    """Number of tasks submitted per worker at a time; with 2, one block is computed while the next is read."""
    block_timeout_s: float = Field(default=3600.0, gt=0)
    """Longest time for one block, seconds; a block that takes longer counts as failed."""


class Roi(Config):
    """Rectangular region of the stored frame, pixels."""

    x: tuple[int, int]
    """First and one-past-last pixel along x."""
    y: tuple[int, int]
    """First and one-past-last pixel along y."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for axis in ("x", "y"):
            start, stop = getattr(self, axis)
            if not 0 <= start < stop:
                raise ValueError(
                    f"{axis} runs from {start} to {stop}; give the first pixel (from 0), then a larger number"
                )
        return self


class PartConfig(Config):
    """Part of a dataset to localize; the rows equal those that a run over the whole dataset has in this part."""

    volumes: IndexRange | None = None
    """First and one-past-last volume, as in a Python slice; frame numbers do not change. None: all volumes."""
    roi: Roi | None = None
    """Region of pixels whose detections are kept; positions still refer to the whole frame. None: all pixels."""

    def settle(self, layout: Layout) -> "PartConfig":
        """Return the same part with non-negative bounds for a dataset of this size; None where it covers everything.

        Raises
        ------
        ConfigError
            The part lies outside the dataset.
        """
        volumes = self.volumes
        if volumes is not None:
            start, stop, _ = slice(*volumes).indices(layout.num_volumes)
            if start >= stop:
                raise ConfigError(
                    f"part.volumes {range_text(volumes)} contains none of the dataset's {layout.num_volumes} volumes; "
                    f"give START:STOP within 0:{layout.num_volumes}, the end excluded."
                )
            volumes = None if (start, stop) == (0, layout.num_volumes) else (start, stop)
        roi = self.roi
        if roi is not None:
            if roi.x[1] > layout.width or roi.y[1] > layout.height:
                raise ConfigError(
                    f"part.roi is x {range_text(roi.x)}, y {range_text(roi.y)}, but frames have "
                    f"{layout.width} x {layout.height} pixels (x, y); give a region inside the frame."
                )
            roi = None if (roi.x, roi.y) == ((0, layout.width), (0, layout.height)) else roi
        return PartConfig(volumes=volumes, roi=roi)

    def describe(self) -> str:
        """Return the part as text."""
        words = []
        if self.volumes is not None:
            words.append(f"volumes {range_text(self.volumes)}")
        if self.roi is not None:
            words.append(f"pixels x {range_text(self.roi.x)}, y {range_text(self.roi.y)}")
        return ", ".join(words) or "all"


class RunConfig(Config):
    """Configuration of one ``lls-decode run``; values that are None are taken from the model bundle."""

    input: InputConfig = InputConfig()
    part: PartConfig = PartConfig()
    camera: Camera | None = None
    pixel_size: CameraPixel | None = None
    geometry: Geometry | None = None
    detection: DetectionRule = ModelRule()
    compute: ComputeConfig = ComputeConfig()
    execution: ExecutionConfig = ExecutionConfig()

    def resolve(self, *, camera: Camera, pixel_size: PixelSize, geometry: Geometry | None) -> "ResolvedRunConfig":
        """Return a copy of the configuration with the given camera, pixel size and geometry."""
        values = {**self.model_dump(), "camera": camera, "pixel_size": pixel_size, "geometry": geometry}
        return parse(ResolvedRunConfig, values, source="RunConfig")


class ResolvedRunConfig(RunConfig):
    """Run configuration with camera and pixel size set, and geometry if it is known, so that it can be executed."""

    camera: Camera
    pixel_size: PixelSize


def load_run_config(path: str | Path) -> RunConfig:
    """Read a run configuration; paths of camera maps are relative to the folder of the file."""
    config = load(RunConfig, path)
    if config.camera is not None:
        camera = config.camera.resolve(real_path(path).parent)
        config = config.model_copy(
            update={"camera": camera}
        )  # unlike replace, model_copy keeps the record of which fields the file sets
    return config
