"""Preview: localize and draw one volume in this process, to check model, camera and geometry before a long run."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from lls_decode.axes import ContextKind, Layout
from lls_decode.blocks import Block
from lls_decode.config import PartConfig, PixelSize
from lls_decode.errors import ConfigError
from lls_decode.models import RunConfigLike, as_run_config
from lls_decode.outputs import guarded
from lls_decode.pictures.preview_figure import Spots, preview_figure
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running.arithmetic import settle_here

MOVIE_FRAMES = 32
"""Number of frames that a preview shows of a movie, whose volumes are single frames."""


@dataclass(frozen=True)
class Preview:
    """Result of a preview."""

    picture: Path
    volume: int
    """Number of the volume; of a movie, the first frame."""
    num_frames: int
    """Number of frames that were localized."""
    num_localizations: int
    median_photons: float
    """Median number of photons; NaN if nothing was found."""
    seconds: float
    """Time for reading and localizing, without loading the model."""
    notes: tuple[str, ...]
    """Notes of the plan."""


@guarded
def preview(
    dataset: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    config: RunConfigLike = None,
    volume: int | None = None,
    force: bool = False,
) -> Preview:
    """Localize one volume in this process and draw its detections over the raw planes.

    Parameters
    ----------
    dataset, model, config
        Dataset, model and configuration, as for a run; the same checks apply.
    out
        Path of the picture, a ``.png``.
    volume
        Number of the volume; None: the middle one. Of a movie, the first of `MOVIE_FRAMES` frames.
    force
        Accept frames that the camera cannot have recorded.

    Raises
    ------
    ConfigError
        The dataset has no such volume, or matplotlib is not installed.
    InputError, BundleError
        The dataset or the model cannot be used, as for a run.
    """
    from lls_decode.localize import build_localizer  # imports torch, which planning does not need

    out = Path(out)
    if out.suffix.lower() != ".png":
        raise ConfigError(f"A preview is written as .png, not as {out.name}; give a name like preview.png.")
    whole = as_run_config(config).replace(part=PartConfig())  # 'volume' selects the volume; whole frames are drawn
    plan = settle_here(make_plan(dataset, model, out.parent, whole, force=force, resumes=False))
    block = _block(plan.layout, plan.bundle.network.context, volume)
    localizer = build_localizer(plan.bundle_path, plan.config, plan.layout, compiles=False)
    began = time.monotonic()
    stack = plan.source.read(block)
    table = localizer.run(stack)
    seconds = time.monotonic() - began
    pixel = plan.config.pixel_size
    adu_ZYX = stack.adu_TYX[block.windows[:, 1]][np.argsort(block.owned_frames)]
    result = Preview(
        picture=out,
        volume=block.volume_start,
        num_frames=block.num_owned,
        num_localizations=len(table),
        median_photons=float(np.median(table["photons"].to_numpy())) if len(table) else float("nan"),
        seconds=seconds,
        notes=plan.notes,
    )
    word = "plane" if plan.layout.planes_per_volume > 1 else "frame"
    spots = _spots(table, block, pixel)
    preview_figure(out, adu_ZYX, spots, title=_title(plan, result), pixel_nm=pixel.x_nm, plane_word=word)
    return result


def _block(layout: Layout, context: ContextKind, volume: int | None) -> Block:
    """Return a block with the planes of one volume, or with `MOVIE_FRAMES` frames of a movie."""
    number = min(MOVIE_FRAMES, layout.num_volumes) if layout.planes_per_volume == 1 else 1
    start = (layout.num_volumes - number) // 2 if volume is None else volume
    if not 0 <= start < layout.num_volumes:
        raise ConfigError(
            f"Volume {start} does not exist: the dataset has volumes 0 to {layout.num_volumes - 1}; choose another."
        )
    return Block(
        index=0,
        volume_start=start,
        volume_stop=min(start + number, layout.num_volumes),
        plane_start=0,
        plane_stop=layout.planes_per_volume,
        num_volumes=layout.num_volumes,
        planes_per_volume=layout.planes_per_volume,
        context=context,
    )


def _spots(table: pa.Table, block: Block, pixel: PixelSize) -> Spots:
    """Return the rows in the coordinates of the picture: pixels, and planes of the block in the order of frames."""
    frame, x_nm, y_nm, z_nm = (table[name].to_numpy() for name in ("frame", "x_nm", "y_nm", "z_nm"))
    return Spots(
        plane=np.searchsorted(np.sort(block.owned_frames), frame).astype(np.int64),
        x_px=x_nm.astype(np.float64) / pixel.x_nm,
        y_px=y_nm.astype(np.float64) / pixel.y_nm,
        z_nm=z_nm.astype(np.float64),
    )


def _title(plan: Plan, result: Preview) -> str:
    what = "volume" if plan.layout.planes_per_volume > 1 else "frames from"
    found = f"{result.num_localizations:,} localizations"
    if result.num_localizations:
        found += f", median {result.median_photons:,.0f} photons"
    return f"{Path(plan.dataset).name}, {what} {result.volume}, model {Path(plan.bundle_path).stem}\n{found}"
