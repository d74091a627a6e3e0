"""What must be known of a table before it is drawn: limits, typical colours, and typical sigmas."""

import math
from dataclasses import dataclass, replace

import numpy as np

from lls_decode.errors import TableError
from lls_decode.pictures.view import AXES, Axis, Limits, Piece, View, ViewedTable


@dataclass(frozen=True)
class Survey:
    """What must be known of a table before it is drawn."""

    view: View
    found_nm: dict[Axis, Limits]
    """Smallest and largest position of what is seen; empty where nobody looked."""
    colour_range: Limits = (0.0, 1.0)
    vertical_blur: float = 1.0
    """Typical sigma along the vertical axis over that along the horizontal one."""
    sigma_max_nm: float = 0.0
    """Largest sigma along the horizontal axis."""
    num_seen: int = 0

    def limits(self, axis: Axis, pixel_nm: float) -> Limits:
        """Of the picture: as the view says, else all that is seen and two pixels more."""
        limits = self.view.limits_nm(axis)
        if limits is None:
            low, high = self.found_nm[axis]
            if low > high:
                raise TableError(
                    f"No emitter that is left has a known {axis}; choose a view, or a picture, without it."
                )
            limits = low - 2 * pixel_nm, high + 2 * pixel_nm
        return limits


def survey_table(source: ViewedTable, *, needs_sigma: bool = True, needs_normal: bool = True) -> Survey:
    """One pass over the table: limits, and typical colours and sigmas; none where the view says all that is needed."""
    horizontal, vertical, normal = AXES[source.view.projection]
    needed: list[Axis] = [horizontal, vertical, *([normal] if needs_normal else [])]
    if not needs_sigma and all(source.view.limits_nm(axis) for axis in needed):
        return Survey(source.view, {})
    survey = Survey(source.view, dict.fromkeys(("x", "y", "z"), (math.inf, -math.inf)))
    colours, ratios = [], []
    for piece in source.pieces():
        if len(piece):
            survey = _with_piece(survey, piece, horizontal)
            colours.append(piece.colour[piece.typical])
            ratio = piece.sigma_nm[vertical] / np.maximum(piece.sigma_nm[horizontal], 1e-3)
            ratios.append(ratio[piece.typical])
    if not survey.num_seen:
        raise nothing_left(source)
    colour, ratio = np.concatenate(colours), np.concatenate(ratios)
    colour = colour[np.isfinite(colour)]
    low, high = np.percentile(colour, [1, 99]) if len(colour) else (0.0, 1.0)
    typical = float(np.median(ratio)) if len(ratio) else 1.0
    return replace(
        survey,
        colour_range=(float(low), float(max(high, low + 1.0))),
        vertical_blur=typical if typical > 0 else 1.0,
    )


def _with_piece(survey: Survey, piece: Piece, horizontal: Axis) -> Survey:
    found = {}
    for axis, (low, high) in survey.found_nm.items():
        known = piece.position_nm[axis][np.isfinite(piece.position_nm[axis])]
        found[axis] = (min(low, float(known.min())), max(high, float(known.max()))) if len(known) else (low, high)
    return replace(
        survey,
        found_nm=found,
        sigma_max_nm=max(survey.sigma_max_nm, float(piece.sigma_nm[horizontal].max())),
        num_seen=survey.num_seen + len(piece),
    )


def nothing_left(source: ViewedTable) -> TableError:
    """The error of a picture without emitters."""
    return TableError(
        f"No emitters are left to draw ({source.num_rows} rows before the filter); lower prob_min, raise sigma_max_nm, "
        "or widen the region, slab or times."
    )
