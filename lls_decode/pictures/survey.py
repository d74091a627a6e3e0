"""Survey of a table before it is drawn: limits, channels, typical colours and sigmas."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from lls_decode.errors import TableError
from lls_decode.pictures.extent import Spread
from lls_decode.pictures.view import AXES, Axis, Limits, Piece, View, ViewedTable

Floats = npt.NDArray[np.float64]
Extent = tuple[tuple[float, float], tuple[float, float]]
"""Limits (first, last) of the horizontal and of the vertical axis, nm."""
AskedExtent = Extent | Literal["all"] | None
"""Requested limits of a picture; ``all``: of every emitter, including strays; None: those of the view, else without
strays."""


@dataclass
class Survey:
    """Properties of a table that are needed to draw it."""

    view: View
    usual_nm: dict[Axis, Limits] = field(default_factory=dict)
    """Smallest and largest position of the emitters in view, without strays; empty if not surveyed."""
    found_nm: dict[Axis, Limits] = field(default_factory=dict)
    """Smallest and largest position including strays."""
    colour_range: Limits = (0.0, 1.0)
    vertical_blur: float = 1.0
    """Ratio of typical sigmas along the vertical and the horizontal axis."""
    sigma_max_nm: float = 0.0
    """Largest sigma along the horizontal axis."""
    num_seen: int = 0
    channels: tuple[int, ...] = ()
    """Channels of the emitters in view, ascending; empty if the table has no channels."""

    def limits(self, axis: Axis, pixel_nm: float, *, with_strays: bool = False) -> Limits:
        """Return the picture's limits: of the view, else of the rows (by default without strays) plus two pixels."""
        limits = self.view.limits_nm(axis)
        if limits is None:
            low, high = (self.found_nm if with_strays else self.usual_nm)[axis]
            if low > high:
                raise TableError(f"No emitter in view has a known {axis}; choose a view, or a picture, without it.")
            limits = low - 2 * pixel_nm, high + 2 * pixel_nm
        return limits

    def extent(self, asked: AskedExtent, pixel_nm: float) -> Extent:
        """Limits of the picture along its two axes."""
        if asked is not None and asked != "all":
            return asked
        horizontal, vertical, _ = AXES[self.view.projection]
        with_strays = asked == "all"
        return (
            self.limits(horizontal, pixel_nm, with_strays=with_strays),
            self.limits(vertical, pixel_nm, with_strays=with_strays),
        )


def survey_table(source: ViewedTable, *, needs_sigma: bool = True, needs_normal: bool = True) -> Survey:
    """Survey a table in one pass: limits, typical colours and sigmas; no pass if the view states all that is needed."""
    horizontal, vertical, normal = AXES[source.view.projection]
    needed: list[Axis] = [horizontal, vertical, *([normal] if needs_normal else [])]
    one_channel = not source.has_channels or source.view.channel is not None
    survey = Survey(source.view)
    if one_channel and not needs_sigma and all(source.view.limits_nm(axis) for axis in needed):
        return survey
    spreads: dict[Axis, Spread] = {axis: Spread() for axis in ("x", "y", "z")}
    colours, ratios, channels = [], [], set[int]()
    for piece in source.pieces():
        if not len(piece):
            continue
        somewhere = _between(piece, dict.fromkeys(needed, (-np.inf, np.inf)))
        for axis, spread in spreads.items():
            spread.add(piece.position_nm[axis][somewhere])
        survey.sigma_max_nm = max(survey.sigma_max_nm, float(piece.sigma_nm[horizontal].max()))
        survey.num_seen += len(piece)
        channels |= set(np.unique(piece.channel).tolist())
        colours.append(piece.colour[piece.typical])
        ratios.append(_ratio(piece, horizontal, vertical))
    if not survey.num_seen:
        raise nothing_left(source)
    survey.channels = tuple(sorted(channels)) if source.has_channels else ()
    survey.found_nm = {axis: spread.limits() for axis, spread in spreads.items()}
    survey.usual_nm = {axis: spread.usual_limits(source.field_nm(axis)) for axis, spread in spreads.items()}
    if any(survey.usual_nm[axis] != survey.found_nm[axis] for axis in needed):
        survey.usual_nm = _of_usual_rows(source, survey.usual_nm, needed)
    depths = survey.usual_nm["z"] if source.colour_is_depth else (-np.inf, np.inf)
    survey.colour_range = _colour_range(np.concatenate(colours), depths)
    ratio = np.concatenate(ratios)
    typical = float(np.median(ratio)) if len(ratio) else 1.0
    survey.vertical_blur = typical if typical > 0 else 1.0
    return survey


def _of_usual_rows(source: ViewedTable, usual_nm: dict[Axis, Limits], needed: list[Axis]) -> dict[Axis, Limits]:
    """Return the limits along each axis of rows that are no strays along the needed axes, in one more pass."""
    limits = dict.fromkeys(usual_nm, (np.inf, -np.inf))
    for piece in source.pieces():
        for axis, (low, high) in limits.items():
            own = {name: usual_nm[name] for name in (*needed, axis)}
            values = piece.position_nm[axis][_between(piece, own)]
            limits[axis] = float(values.min(initial=low)), float(values.max(initial=high))
    return limits


def _between(piece: Piece, limits_nm: Mapping[Axis, Limits]) -> npt.NDArray[np.bool_]:
    """Return which rows have finite coordinates between limits (included)."""
    inside = np.ones(len(piece), dtype=np.bool_)
    for axis, (low, high) in limits_nm.items():
        place = piece.position_nm[axis]
        inside &= np.isfinite(place) & (place >= low) & (place <= high)
    return inside


def _ratio(piece: Piece, horizontal: Axis, vertical: Axis) -> Floats:
    ratio = piece.sigma_nm[vertical] / np.maximum(piece.sigma_nm[horizontal], 1e-3)
    return ratio[piece.typical]


def _colour_range(colour: Floats, limits: Limits) -> Limits:
    """Return the 1st and 99th percentile of the known values between limits."""
    known = colour[np.isfinite(colour) & (colour >= limits[0]) & (colour <= limits[1])]
    low, high = np.percentile(known, [1, 99]) if len(known) else (0.0, 1.0)
    return float(low), float(max(high, low + 1.0))


def nothing_left(source: ViewedTable) -> TableError:
    """Return the error for a picture without emitters."""
    channel = source.view.channel
    widen = "widen the region, slab or times" if channel is None else f"choose another channel than {channel}"
    return TableError(
        f"No emitters are left to draw ({source.num_rows} rows before the filter); lower prob_min, raise sigma_max_nm, "
        f"or {widen}."
    )
