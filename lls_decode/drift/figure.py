"""Picture of a drift curve; matplotlib is imported only when one is drawn."""

from pathlib import Path

import numpy as np

from lls_decode.drawing import new_figure, save_png
from lls_decode.drift.curve.curve import DriftCurve, Floats
from lls_decode.table import written_aside

_MAX_DRAWN = 20_000
"""Largest number of volumes in a line; of more, every n-th is drawn."""
_MAX_SPANS = 200


def draw_curve(out: str | Path, curve: DriftCurve, *, title: str = "", truth_nm: Floats | None = None) -> None:
    """Draw the displacement along each measured axis over volumes, with a band of one standard deviation, as PNG.

    Volumes in which nothing was measured are grey.

    Parameters
    ----------
    truth_nm
        ``(V, 3)`` true drift of a simulation, drawn dashed underneath.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    figure = new_figure("A picture of the drift needs", 9, 7, dpi=100, layout="constrained")
    every = slice(None, None, max(1, len(curve) // _MAX_DRAWN))
    volume = curve.volume[every]
    centres = np.asarray(curve.details.get("window_centres", ()), dtype=np.float64)
    names = ("xs", "ys", "zs") if curve.coords == "sample" else ("x", "y", "z")
    for axis, axes in enumerate(figure.subplots(curve.num_axes, 1, sharex=True)):
        shift, sigma = curve.shift_nm[every, axis], np.nan_to_num(curve.sigma_nm[every, axis])
        if truth_nm is not None:
            axes.plot(volume, truth_nm[every, axis], "--", color="0.5", linewidth=1, label="truth")
        axes.fill_between(volume, shift - sigma, shift + sigma, color=f"C{axis}", alpha=0.3, linewidth=0)
        for start, stop in _without_support(curve):
            axes.axvspan(start, stop, color="0.9", linewidth=0, zorder=0)
        axes.plot(volume, shift, color=f"C{axis}", linewidth=1, label="drift")
        if len(centres):
            axes.plot(
                centres, np.interp(centres, curve.volume, curve.shift_nm[:, axis]), ".", color=f"C{axis}", markersize=3
            )
        axes.set_ylabel(f"{names[axis]} (nm)")
        axes.grid(alpha=0.3)
        axes.set_title(_words(curve, axis), loc="right", fontsize=9, color="0.3")
        axes.ticklabel_format(axis="both", style="plain", useOffset=False)
    axes.set_xlabel("volume (frame, when volumes are single planes)")
    if truth_nm is not None:
        axes.legend(loc="upper left", fontsize=8)
    unseen = curve.details.get("unsupported_rows")
    share = f"{unseen:.1%} of the rows without support (grey)" if unseen is not None else ""
    figure.suptitle(", ".join(part for part in (title, curve.method, share) if part), fontsize=11)
    with written_aside(Path(out)) as temporary:
        save_png(figure, temporary)


def _without_support(curve: DriftCurve) -> list[tuple[int, int]]:
    """Return the ranges of volumes in which nothing was measured.

    If there are too many to draw, only the longest ones are returned.
    """
    if curve.supported is None:
        return []
    edge = np.diff(np.concatenate([[0], (~curve.supported).astype(np.int8), [0]]))
    start, stop = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
    longest = np.argsort(start - stop, kind="stable")[:_MAX_SPANS]
    return [(int(start[n]) + curve.first_volume, int(stop[n]) + curve.first_volume) for n in longest]


def _words(curve: DriftCurve, axis: int) -> str:
    words = [f"range {np.ptp(curve.shift_nm[:, axis]):.1f} nm"]
    sigma = curve.sigma_nm[:, axis]
    if np.isfinite(sigma).any():
        words.append(f"uncertainty {np.nanmedian(sigma):.2f} nm")
    residual = curve.details.get("residual_nm")
    if residual is not None and axis < len(residual):
        words.append(f"residual of pairs {residual[axis]:.1f} nm")
    return ", ".join(words)
