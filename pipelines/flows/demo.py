"""Demonstration: simulate an acquisition, localize it, score it against its ground truth, and draw the result."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from distributed import Client

from lls_decode.blocks import plan_blocks
from lls_decode.config import Geometry, MovieConfig, PixelSize, load, load_run_config
from lls_decode.drawing import can_draw
from lls_decode.errors import EXIT_DONE, LlsDecodeError
from lls_decode.evaluate import Score, read_truth, score
from lls_decode.frames import FrameSource
from lls_decode.models import find_bundle, find_config
from lls_decode.outputs import PROGRAM
from lls_decode.pictures.figures import demo_figure
from lls_decode.pipelines.journal.events import Listener
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.run import run
from lls_decode.table import read_emitters, read_table, written_aside
from lls_decode.table.marks import marked_yaml

MODEL = "lls-paint"
MOVIE = "demo-movie"
PHOTONS_MIN = 50.0
"""Photons below which a true emitter is optional, as in training: missing it is no error, and neither is finding it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemoResult:
    """Files and score of a demonstration."""

    table: Path
    picture: Path | None
    """Path of the picture; None if matplotlib is not installed."""
    scores: Path
    score: Score
    """Score against all emitters in the z range that the model was trained for."""
    num_localizations: int


def prepare_demo(out: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Path:
    """Simulate the acquisition of the demonstration into ``out/movie`` unless it exists, and return that folder."""
    from lls_decode.simulate import simulate_movie  # imports torch, which importing this module should not need

    folder = Path(out) / "movie"
    config = load(MovieConfig, find_config(MOVIE))
    finished = folder / "movie.yaml"  # written last
    if not finished.exists() or finished.read_text(encoding="utf-8") != marked_yaml(config):
        simulate_movie(config, folder, overwrite=True, progress=progress)
    return folder


def demo(out: str | Path, client: Client, *, listeners: Sequence[Listener] = (), force: bool = False) -> DemoResult:
    """Run the demonstration in a folder. Without matplotlib only the scores are written, and no picture.

    Raises
    ------
    LlsDecodeError
        Blocks failed, or the run was interrupted.
    """
    out = Path(out)
    movie = prepare_demo(out)
    config = load_run_config(movie / "run.yaml")
    config = config.replace(execution=config.execution.replace(block_frames=128))
    plan = make_plan(movie / "movie.zarr", find_bundle(MODEL), out / "results", config)
    result = run(plan, client, listeners=listeners, force=force)
    if result.exit_status != EXIT_DONE or result.merged is None:
        raise LlsDecodeError(f"The demonstration did not finish ({result.done} of {len(plan.blocks)} blocks are done).")
    truth, found = read_truth(movie / "truth.parquet"), read_emitters(result.merged)
    z_range_nm = plan.bundle.z_range_nm
    total = score(truth, found, photons_min=PHOTONS_MIN, z_range_nm=z_range_nm)
    area_um2 = plan.layout.num_frames * _field_um2(plan.source, plan.bundle.pixel_size)
    scores = out / "score.json"
    record = {
        "written_by": PROGRAM,
        "score": total.to_dict(),
        "z_range_nm": z_range_nm,
        "photons_min": PHOTONS_MIN,
        "density_per_um2": round(total.num_truth / area_um2, 3),
        "frames": plan.layout.num_frames,
        "model": plan.bundle.name,
        "model_digest": plan.bundle_digest,
    }
    with written_aside(scores) as aside:
        aside.write_text(json.dumps(record, indent=1), encoding="utf-8")
    picture = out / "demo.png" if can_draw() else None
    if picture is not None:
        assert plan.config.geometry is not None  # the simulated movie has one
        truth_path, pixel = movie / "truth.parquet", plan.bundle.pixel_size
        _draw(picture, plan.source, plan.config.geometry, pixel, truth_path, result.merged, total, z_range_nm)
    return DemoResult(result.merged, picture, scores, total, len(found))


def _field_um2(source: FrameSource, pixel: PixelSize) -> float:
    return source.layout.height * pixel.y_nm * source.layout.width * pixel.x_nm * 1e-6


def _draw(
    out: Path,
    source: FrameSource,
    geometry: Geometry,
    pixel: PixelSize,
    truth: Path,
    table: Path,
    total: Score,
    z_range_nm: tuple[float, float],
) -> None:
    """Draw the mean volume, the true emitters and the localizations, in sample coordinates."""
    true = pq.read_table(truth, columns=["xs_nm", "ys_nm", "zs_nm", "z_nm", "photons"]).to_pydict()
    columns = {name: np.asarray(values) for name, values in true.items()}
    wanted = (
        (columns["photons"] >= PHOTONS_MIN) & (columns["z_nm"] >= z_range_nm[0]) & (columns["z_nm"] <= z_range_nm[1])
    )
    found, _ = read_table(table, ["xs_nm", "ys_nm", "zs_nm"])
    demo_figure(
        out,
        light=_mean_light(source, geometry, pixel),
        truth={f"{axis}_nm": columns[f"{axis}s_nm"][wanted] for axis in "xyz"},
        found={f"{axis}_nm": found[f"{axis}s_nm"].to_numpy() for axis in "xyz"},
        title=(
            f"lls-decode demo: {source.layout.num_frames} frames, {found.num_rows} localizations, Jaccard "
            f"{total.jaccard:.2f}, r.m.s.e. {total.rmse_lateral_nm:.0f} nm lateral, {total.rmse_axial_nm:.0f} nm axial"
        ),
    )


def _mean_light(source: FrameSource, geometry: Geometry, pixel: PixelSize) -> dict[str, npt.NDArray[np.float64]]:
    """Return the mean of all volumes as weighted points in sample coordinates, like a diffraction-limited image."""
    size = source.layout
    total = np.zeros((size.planes_per_volume, size.height, size.width))
    for block in plan_blocks(size, "none", size.planes_per_volume):
        total += source.read(block).adu_TYX
    plane, row, column = np.indices(total.shape, dtype=np.float64).reshape(3, -1)
    position = geometry.to_sample(column * pixel.x_nm, row * pixel.y_nm, np.zeros(column.size), plane)
    light = (total - np.median(total, axis=(0, 1, 2))) / size.num_volumes
    return {"x_nm": position.x_nm, "y_nm": position.y_nm, "z_nm": position.z_nm, "weight": light.ravel().clip(0)}
