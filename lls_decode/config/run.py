"""One run over one dataset: what a user may say about input, camera, detection, machines."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lls_decode.axes import IndexRange, Layout, range_text
from lls_decode.config.base import Config, load, parse
from lls_decode.config.cameras import Camera
from lls_decode.config.detection import DetectionRule, ModelRule
from lls_decode.config.geometry import CameraPixel, Geometry, PixelSize
from lls_decode.errors import ConfigError

AbsentChunks = Literal["lost", "fill"]
Arithmetic = Literal["float32", "bfloat16", "float16"]


class StorageConfig(Config):
    """How a remote store (``s3://``, ``gs://``) is reached; credentials come from the environment only."""

    endpoint: str | None = None
    """Address of the service, e.g. ``https://minio.example.org:9000``; None: ``AWS_ENDPOINT_URL``, else the public."""
    region: str | None = None
    """Region of an S3 bucket; None: ``AWS_REGION``, else ``us-east-1``."""
    anonymous: bool = False
    """Send no credentials: for public buckets."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.endpoint is not None and not re.fullmatch(r"https?://[^/@?#]+/?", self.endpoint):
            raise ValueError(
                "endpoint is no plain address; expected https://HOST or https://HOST:PORT, without a user name, a "
                "password, a path or a query"
            )
        return self


class InputConfig(Config):
    """How a zarr store is read as volumes of planes."""

    array: str | None = None
    """Path of the array (or image group) inside the store; needed when there are several."""
    axes: str | None = Field(default=None, pattern="^[a-z]+$")
    """Axes of the array, e.g. ``tzyx``; None: from the metadata, else from the number of dimensions. Letters other than
    t, c, z, y and x stand for axes that frames do not have."""
    channel: int | None = Field(default=None, ge=0)
    """Which channel; needed when there are several."""
    select: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """Which entry, from 0, of each axis that frames do not have, e.g. ``{p: 0}`` for positions; needed where there are
    several."""
    planes_per_volume: int | None = Field(default=None, ge=1)
    """For a flat stream (t, y, x): how many frames make a volume."""
    skip_first: int = Field(default=0, ge=0)
    """Frames dropped at the beginning of each volume (fly-back)."""
    skip_last: int = Field(default=0, ge=0)
    """Frames dropped at the end of each volume."""
    bidirectional: bool = False
    """Odd volumes were scanned backwards: their planes are reversed on reading."""
    absent: AbsentChunks = "lost"
    """What to do with chunks that the store does not have: ``lost`` loses their frames; ``fill`` takes the fill value,
    for writers that leave out chunks of nothing else."""
    trust: Literal["configuration"] | None = None
    """Which to believe where sizes in the configuration and in the dataset contradict each other; None: neither, the
    run is refused."""
    storage: StorageConfig = StorageConfig()


CPU_BATCH_PX = 1 << 16
"""Pixels in one forward pass on a CPU: larger batches are hardly faster there, and take more memory."""


class ComputeConfig(Config):
    """Where and how the network is computed. Only ``dtype`` may change a number of the result."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto"] | Arithmetic = "auto"
    """Arithmetic of the network. ``auto``: ``float16`` on GPUs, ``bfloat16`` on CPUs that have units for it, else
    ``float32``; decided once for a run, on its workers, and kept when the run is resumed."""
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

    volumes: IndexRange | None = None
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
                    f"part.volumes {range_text(volumes)} holds none of the dataset's {layout.num_volumes} volumes; "
                    f"give START:STOP within 0:{layout.num_volumes}, the end excluded."
                )
            volumes = None if (start, stop) == (0, layout.num_volumes) else (start, stop)
        roi = self.roi
        if roi is not None:
            if roi.x[1] > layout.width or roi.y[1] > layout.height:
                raise ConfigError(
                    f"part.roi has pixels x {range_text(roi.x)}, y {range_text(roi.y)}, the frames have "
                    f"{layout.width} x {layout.height} (x, y); keep within them."
                )
            roi = None if (roi.x, roi.y) == ((0, layout.width), (0, layout.height)) else roi
        return PartConfig(volumes=volumes, roi=roi)

    def describe(self) -> str:
        """In words."""
        words = []
        if self.volumes is not None:
            words.append(f"volumes {range_text(self.volumes)}")
        if self.roi is not None:
            words.append(f"pixels x {range_text(self.roi.x)}, y {range_text(self.roi.y)}")
        return ", ".join(words) or "all"


class RunConfig(Config):
    """Everything that one ``lls-decode run`` may be told; what is None is taken from the model bundle."""

    input: InputConfig = InputConfig()
    part: PartConfig = PartConfig()
    camera: Camera | None = None
    pixel_size: CameraPixel | None = None
    geometry: Geometry | None = None
    detection: DetectionRule = ModelRule()
    compute: ComputeConfig = ComputeConfig()
    execution: ExecutionConfig = ExecutionConfig()

    def resolve(self, *, camera: Camera, pixel_size: PixelSize, geometry: Geometry | None) -> "ResolvedRunConfig":
        """Return the same configuration with camera, pixel size and geometry set to these values."""
        values = {**self.model_dump(), "camera": camera, "pixel_size": pixel_size, "geometry": geometry}
        return parse(ResolvedRunConfig, values, source="RunConfig")


class ResolvedRunConfig(RunConfig):
    """A run configuration that can be executed: camera and pixel size are set, and the geometry where it is known."""

    camera: Camera
    pixel_size: PixelSize


def load_run_config(path: str | Path) -> RunConfig:
    """Read a run configuration; camera maps are found relative to its folder."""
    config = load(RunConfig, path)
    if config.camera is not None:
        camera = config.camera.resolve(Path(path).resolve().parent)
        config = config.model_copy(update={"camera": camera})  # what else the file sets stays known
    return config
