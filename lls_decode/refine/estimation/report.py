"""Output files of a prefit: the numbers, a picture of the underlying data, and the training configuration."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode import __version__
from lls_decode.drawing import new_figure, save_png
from lls_decode.refine.estimation.candidates import CANDIDATE_SNR
from lls_decode.refine.estimation.estimation import Estimate
from lls_decode.refine.estimation.photophysics import is_fully_on
from lls_decode.refine.estimation.single_emitters import MISFIT, MISFIT_LIMIT, NEIGHBOUR, PRESENT, STEPS
from lls_decode.table.files import output_error, written_aside

_EXAMPLES_A_ROW = 6
_KEPT, _LEFT_OUT = "C0", "C3"


def write_estimate(found: Estimate, out: str | Path) -> None:
    """Write ``estimate.json``, ``estimate.png`` and ``training.yaml`` into a folder, replacing existing files.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    OutputError
        The folder cannot be written.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    _write_picture(found, out / "estimate.png")
    for name, text in (
        ("estimate.json", json.dumps(found.to_dict(), indent=1)),
        ("training.yaml", training_text(found)),
    ):
        with written_aside(out / name) as path:
            path.write_text(text + "\n", encoding="utf-8")


def training_text(found: Estimate) -> str:
    """Return the training configuration as YAML, with comments on the origin of its values."""
    comments = [
        f"Written by lls-decode {__version__} estimate, from {found.dataset}",
        "Train with: " + found.train_command("training.yaml"),
        "",
        *found.describe(),
        *found.warnings,
        "",
        "Emitters, background, camera and pixel size describe the movie, except where a note says otherwise. All other",
        "values are from the base configuration. The density is that where emitters are, or that of the base if it is",
        "higher. The background spans at least a tenth on either side of its median; photons_sd is at least a tenth of",
        "the mean.",
    ]
    return "\n".join(f"# {line}".rstrip() for line in comments) + "\n" + found.training.to_yaml()


def _write_picture(found: Estimate, path: Path) -> None:
    figure = new_figure("A report needs", 14, 11, layout="constrained")
    q = found.quality
    figure.suptitle(
        f"{Path(found.dataset).name}: {q.num_kept} emitters kept of {q.num_candidates} spots in {q.num_frames} frames"
    )
    grid = figure.add_gridspec(4, 6, height_ratios=(1.35, 1.35, 0.6, 0.6))
    panels = (_photons, _background, _on_time, _density, _goodness, _depth_or_losses)
    for number, panel in enumerate(panels):
        row, column = divmod(number, 3)
        panel(figure.add_subplot(grid[row, 2 * column : 2 * column + 2]), found)
    _examples(figure, grid, found)
    with written_aside(path) as temporary:
        save_png(figure, temporary, dpi=90)


def _photons(axes: Any, found: Estimate) -> None:
    fits, p = found.fits, found.photons
    flux = fits.photons / fits.excitation
    excited = fits.excitation > 0.5
    full = excited & is_fully_on(fits)
    bins = np.linspace(0, max(np.quantile(flux[excited], 0.995) if excited.any() else 1.0, p.mean + 4 * p.sd), 50)
    axes.hist(flux[excited], bins, color="0.8", label="all fits")
    axes.hist(flux[full], bins, color=_KEPT, label="also on before and after")
    axes.axvline(p.mean, color="k")
    axes.axvspan(p.mean - p.sd, p.mean + p.sd, color="k", alpha=0.08)
    axes.set(
        title=f"photons {p.mean:.0f} ± {p.sd:.0f}, from {p.num_fits} fits" + ("" if p.fully_on else " (all: too low)"),
        xlabel="photons per frame at full excitation",
        ylabel="fits",
    )
    axes.legend()


def _background(axes: Any, found: Estimate) -> None:
    b, bg = found.background, found.fits.bg
    first, last = np.quantile(bg, [0.002, 0.998])
    axes.hist(bg, np.linspace(first, last, 50), color=_KEPT)
    axes.axvspan(b.low, b.high, color="k", alpha=0.08)
    axes.axvline(b.median, color="k")
    axes.set(
        title=f"background {b.low:.3g} to {b.high:.3g}",
        xlabel="photons per pixel (band: 5 to 95 %, without fit scatter)",
        ylabel="fits",
    )


def _on_time(axes: Any, found: Estimate) -> None:
    t = found.on_time
    bins = np.linspace(-0.6, 1.8, 49)
    known = ~np.isnan(found.fits.around)
    for step, column in zip(STEPS, range(len(STEPS)), strict=True):
        values = found.fits.around[known[:, column], column].clip(-0.6, 1.8)
        axes.hist(values, bins, histtype="step", label=f"{step:+d} frame{'s' if abs(step) > 1 else ''}")
    elsewhere = found.fits.elsewhere[~np.isnan(found.fits.elsewhere)].clip(-0.6, 1.8)
    axes.hist(elsewhere, bins, color="0.85", label="elsewhere", zorder=0)
    axes.axvline(PRESENT, color="k", linestyle=":")
    told = "unknown" if t.frames is None else f"{t.frames:.2g} ± {t.standard_error:.2g} frames"
    axes.set(
        title=f"on-time {told} ({t.num_at_risk} followed)",
        xlabel="light in a neighbouring frame / light of the fit",
        ylabel="fits",
        yscale="symlog",
    )
    axes.legend(fontsize=8)


def _density(axes: Any, found: Estimate) -> None:
    d = found.density
    s, layout = found.training.simulation, found.shape
    area = layout[0] * layout[1] * s.pixel_size.x_nm * s.pixel_size.y_nm * 1e-6
    first = 0
    for run in found.runs:
        per_frame = np.bincount(run.candidates.frame, minlength=run.num_frames) / area
        axes.plot(first + np.arange(run.num_frames), per_frame, ".", markersize=3, color=_KEPT)
        axes.axvline(first - 0.5, color="0.9", zorder=0)
        first += run.num_frames
    axes.axhline(d.per_um2, color="k", label=f"emitters {d.per_um2:.3g}{' or more' if d.saturated else ''}")
    axes.axhline(d.local_per_um2, color="k", linestyle="--", label=f"where emitters are {d.local_per_um2:.3g}")
    axes.set(
        title=f"density: spots found per emitter: {d.found_share:.0%}",
        xlabel="analysed frame (runs from first to last)",
        ylabel=f"per um², spots above {CANDIDATE_SNR:g} sigma",
        ylim=(0, 1.5 * max(axes.get_ylim()[1], d.local_per_um2)),
    )
    axes.legend(loc="upper right")


def _goodness(axes: Any, found: Estimate) -> None:
    misfit = np.concatenate([run.misfit for run in found.runs]).clip(-4, 12)
    bins = np.linspace(-4, 12, 65)
    axes.hist(misfit[misfit <= MISFIT_LIMIT], bins, color=_KEPT, label="like one emitter")
    axes.hist(misfit[misfit > MISFIT_LIMIT], bins, color=_LEFT_OUT, label="not like one emitter")
    grid = np.linspace(-4, 5, 200)
    height = len(misfit) * (bins[1] - bins[0]) / np.sqrt(2 * np.pi)
    axes.plot(grid, height * np.exp(-0.5 * grid**2), color="k", linewidth=1, label="expected for single emitters")
    axes.set(
        title=f"goodness of fit: chi² per degree of freedom {found.quality.chi_square:.2f}",
        xlabel="(chi² - expectation) / standard deviation",
        ylabel="fits",
    )
    axes.legend()


def _depth_or_losses(axes: Any, found: Estimate) -> None:
    """Draw a histogram of the fitted z if the PSF determines z, otherwise the numbers of kept and rejected spots."""
    if found.depth.told_nm is not None:
        axes.hist(found.fits.z_nm, 50, color=_KEPT)
        axes.axvspan(*found.depth.told_nm, color="k", alpha=0.08)
        low, high = found.training.simulation.emitters.z_range_nm
        axes.set(
            title=f"z: training from {low:g} to {high:g} nm",
            xlabel="z (nm; band: where the PSF determines z)",
            ylabel="fits",
        )
        return
    counts = {"kept": found.quality.num_kept, **found.quality.dropped}
    axes.barh(range(len(counts)), list(counts.values()), color=[_KEPT, *[_LEFT_OUT] * (len(counts) - 1)], alpha=0.5)
    for row, (name, count) in enumerate(counts.items()):
        axes.text(0, row, f" {name}: {count}", va="center")
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set(title="kept and rejected spots", xlabel="spots")


def _examples(figure: Any, grid: Any, found: Estimate) -> None:
    """Draw example regions of interest: kept spots in the upper row, rejected spots in the lower row."""
    pictures = [example for run in found.runs for example in run.examples]

    def some(name: str, count: int) -> list[tuple[str, npt.NDArray[np.float64]]]:
        return [(reason, roi) for reason, roi in pictures if reason == name or (name and reason.startswith(name))][
            :count
        ]

    half_row = _EXAMPLES_A_ROW // 2
    for number, row in enumerate((some("", _EXAMPLES_A_ROW), some(MISFIT, half_row) + some(NEIGHBOUR, half_row))):
        for column, (reason, roi) in enumerate(row):
            axes = figure.add_subplot(grid[2 + number, column])
            axes.imshow(roi, cmap="magma")
            axes.set_title({"": "kept", MISFIT: "not like one emitter"}.get(reason, "has a neighbour"), fontsize=8)
            axes.set_axis_off()
