"""Spike-in: measure how well a model performs on a user's own frames, for which there is no ground truth.

Emitters with known positions are added to a sample of the frames, photon by photon (`simulate.spikes`). The frames are
localized before and after. The report says which of the added emitters were found, and how precisely
(`evaluate.spikes`). Blocks are processed one at a time.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import (
    BackgroundConfig,
    EmitterConfig,
    PartConfig,
    SimulationConfig,
    SplinePsf,
    parse,
    recorded_training,
)
from lls_decode.emitters import Emitters
from lls_decode.errors import BundleError, ConfigError, OutputError
from lls_decode.evaluate import SpikeReport, SpikeRows, own_density, score_field, score_over, score_spikes
from lls_decode.model.info import BundleInfo
from lls_decode.models import RunConfigLike, as_run_config
from lls_decode.outputs import guarded
from lls_decode.pictures.spike_figure import spike_figure
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running.arithmetic import settle_here
from lls_decode.system import real_path
from lls_decode.table import written_aside

DENSITY_PER_UM2 = 0.02
"""Density of active spikes in a frame, per square micrometre. One in fifty has a neighbour within half a micrometre."""
FRAMES = 512
_BLOCK_FRAMES = 32
_FEWEST = 50
"""Number of spikes below which the report would be dominated by noise."""
_ON_TIME_FRAMES = 2.0
"""On-time if the bundle does not record that of its training, as with imported models."""


@dataclass(frozen=True)
class SpikeResult:
    """Report and files of a spike-in."""

    report: SpikeReport
    rows: SpikeRows
    scores: Path
    table: Path
    picture: Path
    notes: tuple[str, ...]


@guarded
def spike_in(
    dataset: str | Path,
    model: str | Path,
    out: str | Path,
    config: RunConfigLike = None,
    *,
    psf: str | Path | None = None,
    photons: float | None = None,
    density_per_um2: float = DENSITY_PER_UM2,
    frames: int = FRAMES,
    seed: int = 0,
    lateral_nm: float = 250.0,
    axial_nm: float = 500.0,
    progress: Callable[[int, int], None] | None = None,
) -> SpikeResult:
    """Measure the performance of a model on a dataset with emitters that are added to its frames.

    Parameters
    ----------
    dataset, model, config
        Dataset, model and configuration, as for a run; the same checks apply.
    out
        Folder for the three files.
    psf
        Calibration file in place of the bundle's PSF; required if the bundle has none.
    photons
        Mean photons per frame of an emitter at full excitation. The spread of the emitters in training is scaled by the
        same factor. None: the photons of the training.
    density_per_um2
        Mean number of active spikes in a frame, within the model's z range, per square micrometre.
    frames
        Approximate number of frames to which spikes are added: 32 consecutive frames, or whole volumes, at a time,
        sampled from the whole dataset even if the configuration selects a part of it.
    lateral_nm, axial_nm
        Largest distances between an added emitter and a matching localization.

    Raises
    ------
    LlsDecodeError
        The model does not fit the data, its PSF is unknown, there would be too few emitters, or a frame cannot be read.
    """
    from lls_decode.localize import SpikeIn, build_localizer  # imports torch
    from lls_decode.optics import build_psf

    whole = as_run_config(config).replace(part=PartConfig())
    plan = settle_here(make_plan(dataset, model, out, whole, resumes=False))
    simulation = spiked_emitters(plan, psf=psf, photons=photons, density_per_um2=density_per_um2)
    build_psf(simulation.psf, pixel=simulation.pixel_size)  # fails early if the PSF is absent or has other pixels
    blocks = sample_blocks(plan, frames, seed)
    _check_number(plan, simulation, blocks)
    experiment = SpikeIn(
        build_localizer(plan.bundle_path, plan.config, plan.layout, compiles=False),
        simulation,
        seed,
        lateral_nm,
        axial_nm,
    )
    done = []
    for number, block in enumerate(blocks):
        done.append(experiment.run(plan.source.read(block)))
        if progress is not None:
            progress(number + 1, len(blocks))
    rows = SpikeRows.concatenate([part.rows for part in done])
    counts = {name: sum(getattr(part, name) for part in done) for name in ("num_lost", "num_other", "num_saturated_px")}
    own = Emitters.concatenate([part.before for part in done])
    sampled = np.concatenate([block.owned_frames for block in blocks])
    settings = _settings(plan, simulation, blocks, seed=seed, lateral_nm=lateral_nm, axial_nm=axial_nm)
    report = _report(rows, own, sampled, plan, simulation, counts, settings)
    return _write(report, rows, plan)


def spiked_emitters(
    plan: Plan, *, psf: str | Path | None, photons: float | None, density_per_um2: float
) -> SimulationConfig:
    """Return a simulation of the emitters of the model's training, with the pixels and the geometry of the data.

    Raises
    ------
    BundleError
        The bundle does not state its PSF.
    """
    info, config = plan.bundle, plan.config
    known = _training(info)
    chosen = info.psf if psf is None else SplinePsf(path=str(real_path(psf)))
    if chosen is None:
        raise BundleError(
            f"Model {info.name} does not state which PSF it was trained for, and emitters cannot be added without it; "
            "give its calibration (--psf, a .npz of 'lls-decode calibrate' or a _3dcal.mat)."
        )
    emitters = known.emitters if known is not None else _guessed_emitters(info)
    changes: dict[str, Any] = {"density_per_um2": density_per_um2, "density_spread": 0.0}
    if photons is not None:
        scale = photons / emitters.photons_mean
        changes |= {"photons_mean": photons, "photons_sd": emitters.photons_sd * scale}
    return parse(
        SimulationConfig,
        {
            "pixel_size": config.pixel_size,
            "psf": chosen,
            "camera": config.camera,
            "emitters": emitters.replace(**changes),
            "background": BackgroundConfig(low=0.0, high=0.0),  # the frames have their own background
            **({"illumination": known.illumination} if known is not None else {}),
            "geometry": config.geometry,
        },
        source="spike-in",
    )


def sample_blocks(plan: Plan, frames: int, seed: int) -> tuple[Block, ...]:
    """Return blocks of whole volumes or consecutive frames that contain about ``frames`` frames in total.

    The dataset is divided into equal parts, and one block is drawn from each.
    """
    layout, context = plan.layout, plan.bundle.network.context
    size = min(plan.config.execution.block_frames, max(_BLOCK_FRAMES, layout.planes_per_volume))
    blocks = plan_blocks(layout, context, size)
    number = min(len(blocks), max(1, round(frames / max(block.num_owned for block in blocks))))
    edges = np.linspace(0, len(blocks), number + 1)
    place = edges[:-1] + np.random.default_rng(seed).random(number) * np.diff(edges)
    return tuple(blocks[int(i)] for i in np.unique(place.astype(np.int64)))


def _training(info: BundleInfo) -> SimulationConfig | None:
    """Return the simulation that the model was trained on; None if its bundle does not record it."""
    record = info.training.get("configuration")
    return None if record is None else recorded_training(record, source=f"model {info.name}").simulation


def _guessed_emitters(info: BundleInfo) -> EmitterConfig:
    """Return emitters in the photon and z ranges of an imported model, whose bundle records nothing else."""
    low, high = info.photons_range
    return EmitterConfig(
        density_per_um2=DENSITY_PER_UM2,
        photons_mean=(low + high) / 2,
        photons_sd=(high - low) / 4,
        on_time_frames=_ON_TIME_FRAMES,
        z_range_nm=info.z_range_nm,
    )


def _check_number(plan: Plan, simulation: SimulationConfig, blocks: tuple[Block, ...]) -> None:
    pixel, layout = simulation.pixel_size, plan.layout
    num_frames = sum(block.num_owned for block in blocks)
    area_um2 = layout.height * pixel.y_nm * layout.width * pixel.x_nm * 1e-6
    expected = simulation.emitters.density_per_um2 * area_um2 * num_frames
    if expected < _FEWEST:
        raise ConfigError(
            f"About {expected:.0f} emitters would be added to {num_frames} frames of {area_um2:.3g} square "
            f"micrometres, expected at least {_FEWEST}; raise --frames (the dataset has {layout.num_frames}) or "
            "--density."
        )


def _settings(plan: Plan, simulation: SimulationConfig, blocks: tuple[Block, ...], **more: float) -> dict[str, Any]:
    return {
        "dataset": plan.dataset,
        "model": plan.bundle.name,
        "model_digest": plan.bundle_digest,
        "frames": sum(block.num_owned for block in blocks),
        "frames_of_dataset": plan.layout.num_frames,
        "first_frames": [block.volume_start * block.planes_per_volume + block.plane_start for block in blocks],
        **more,
        "pixel_size": simulation.pixel_size.to_dict(),
        "psf": simulation.psf.to_dict(),
        "emitters": simulation.emitters.to_dict(),
        "illumination": simulation.illumination.to_dict(),
        "geometry": None if simulation.geometry is None else simulation.geometry.to_dict(),
        "camera": simulation.camera.to_dict(),
        "detection": plan.config.detection.to_dict(),
        "notes": list(plan.notes),
    }


def _report(
    rows: SpikeRows,
    own: Emitters,
    sampled: npt.NDArray[np.int64],
    plan: Plan,
    simulation: SimulationConfig,
    counts: Mapping[str, int],
    settings: Mapping[str, Any],
) -> SpikeReport:
    layout, pixel, spikes = plan.layout, simulation.pixel_size, rows.spikes
    over = {"photons": score_over(rows, spikes.photons), "bg": score_over(rows, spikes.bg)}
    if plan.bundle.network.predict_z:
        over["z_nm"] = score_over(rows, spikes.z_nm, limits=simulation.emitters.z_range_nm)
    if layout.planes_per_volume > 1:
        over["plane"] = score_over(rows, spikes.frame % layout.planes_per_volume, limits=(0, layout.planes_per_volume))
    over["frame"] = score_over(rows, spikes.frame, limits=(0, layout.num_frames))
    field = score_field(
        rows,
        extent_x_nm=(-0.5 * pixel.x_nm, (layout.width - 0.5) * pixel.x_nm),
        extent_y_nm=(-0.5 * pixel.y_nm, (layout.height - 0.5) * pixel.y_nm),
    )
    apart = 0 if layout.planes_per_volume > 1 else math.ceil(2 * (simulation.emitters.on_time_frames or 0))
    density = own_density(spikes, own, sampled, planes_per_volume=layout.planes_per_volume, apart=apart)
    known = np.isfinite(density)
    return SpikeReport(
        total=score_spikes(rows),
        where_own=score_spikes(rows.select(known), density[known]) if np.nansum(density) > 0 else None,
        over=over,
        field=field,
        num_before=len(own),
        settings=settings,
        **counts,
    )


def _write(report: SpikeReport, rows: SpikeRows, plan: Plan) -> SpikeResult:
    """Write the scores and the table, and the picture last, so that a missing matplotlib costs only the picture."""
    out = plan.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be written ({error.strerror}); give another --out.") from error
    result = SpikeResult(
        report, rows, out / "spike_in.json", out / "spike_in.parquet", out / "spike_in.png", plan.notes
    )
    record = report.to_dict()
    with written_aside(result.scores) as path:
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    with written_aside(result.table) as path:
        pq.write_table(_table(rows, plan, record["settings"]), path, compression="zstd", compression_level=1)
    spike_figure(result.picture, record)
    return result


def _table(rows: SpikeRows, plan: Plan, settings: Mapping[str, Any]) -> pa.Table:
    """Return a table with one row per spike; errors and sigmas are NaN for spikes that were missed."""
    spikes, found, planes = rows.spikes, rows.found, plan.layout.planes_per_volume
    columns: dict[str, npt.NDArray[Any]] = {
        "frame": spikes.frame.astype(np.uint32),
        "volume": (spikes.frame // planes).astype(np.uint32),
        "plane": (spikes.frame % planes).astype(np.uint16),
        "id": np.unique(spikes.id, return_inverse=True)[1].astype(np.int64),
        "found": rows.is_found,
    }
    names = ("x_nm", "y_nm", "z_nm", "photons")
    columns |= {name: getattr(spikes, name).astype(np.float32) for name in (*names, "bg")}
    columns |= {f"{name}_error": (getattr(found, name) - getattr(spikes, name)).astype(np.float32) for name in names}
    columns |= {
        name: getattr(found, name).astype(np.float32) for name in ("x_sig", "y_sig", "z_sig", "phot_sig", "prob")
    }
    columns |= {f"{axis}_bound_nm": values.astype(np.float32) for axis, values in rows.bound.items()}
    return pa.table(columns, metadata={"spike_in": json.dumps(settings)})


def describe(report: SpikeReport) -> list[str]:
    """Return the report as lines of text."""
    total, settings = report.total, report.settings
    emitters = settings["emitters"]
    lines = [
        f"added      {total.num_spikes} emitters to find ({total.num_molecules} molecules) in {settings['frames']} of "
        f"{settings['frames_of_dataset']} frames, {emitters['density_per_um2']:g} per µm² and frame, "
        f"{emitters['photons_mean']:g} ± {emitters['photons_sd']:g} photons at full excitation",
        f"own        {report.num_before} localizations, {report.num_lost} of them lost next to the added light; "
        f"{report.num_other} new ones that match no added emitter",
    ]
    if report.num_saturated_px:
        lines.append(f"saturated  {report.num_saturated_px} pixels were clipped to the largest count")
    header = f"{'':<22}{'spikes':>7}{'recall':>8} {'(95 %)':<12}"
    axes = [axis for axis in "xyz" if not math.isnan(getattr(total, f"rmse_{axis}_nm"))]
    header += "".join(f"{f'rmse {axis}':>8}" for axis in axes) + "".join(f"{f'err/sig {axis}':>11}" for axis in axes)
    lines.append(header + f"{'photons':>9}")
    lines.append(_line("all", asdict(total), axes))
    if report.where_own is not None:
        lines.append(_line("near own emitters", asdict(report.where_own), axes))
    for name, words in (("photons", "photons"), ("bg", "background"), ("z_nm", "z, nm")):
        lines += [
            _line(f"{words} {part.low:.4g}-{part.high:.4g}" if part.low >= 0 else f"{words} {part.low:.4g} to "
                  f"{part.high:.4g}", asdict(part.score), axes)
            for part in report.over.get(name, ())
        ]  # fmt: skip
    if axes:
        ratios = "  ".join(f"{axis} {getattr(total, f'over_bound_{axis}'):.2f}" for axis in axes)
        lines.append(f"error / Cramér-Rao bound of a lone emitter in one frame, r.m.s.: {ratios}")
    return lines


def _line(label: str, score: Mapping[str, Any], axes: list[str]) -> str:
    interval = f"{score['recall_low']:.2f}-{score['recall_high']:.2f}"
    line = f"{label:<22}{score['num_spikes']:>7}{score['recall']:>8.3f} {interval:<12}"
    line += "".join(f"{score[f'rmse_{axis}_nm']:>8.1f}" for axis in axes)
    line += "".join(f"{score[f'zscore_{axis}']:>11.2f}" for axis in axes)
    return line + f"{score['photon_ratio']:>9.2f}"
