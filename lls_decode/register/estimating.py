"""Measurement of the map between two clouds by the chosen method."""

import math
from typing import Final, Literal, get_args

from scipy.spatial import cKDTree

from lls_decode.errors import ConfigError, TableError
from lls_decode.register.beads import align_beads, find_beads
from lls_decode.register.models import MODELS, ModelName
from lls_decode.register.points import Cloud
from lls_decode.register.structure import Aligned, align_structure
from lls_decode.register.transformation import Transformation

Method = Literal["auto", "beads", "structure"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

_BEAD_SHARE: Final = 0.5
"""Share of points near beads, in both clouds, above which beads are used."""
_BEAD_RADIUS_NM: Final = 150.0
_MIN_BEADS: Final = 6
_FEW_POINTS: Final = 2_000
_SIGMAS: Final = 5.0
"""Standard deviations by which a result may exceed a limit."""


def estimate(
    fixed: Cloud,
    moving: Cloud,
    *,
    model: ModelName = "rigid",
    method: Method = "auto",
    max_shift_nm: float | None = None,
    max_angle_deg: float = 15.0,
    seed: int = 0,
) -> Transformation:
    """Measure the map from one cloud of points to another, and its uncertainty.

    Parameters
    ----------
    model
        ``shift``, ``rigid`` (rotation in the plane of x and y, and shift) or ``affine`` (any linear map in that plane,
        and shift). The map includes a shift along z if both clouds have z.
    method
        ``beads``: places that are seen most of the time, matched and fitted; ``structure``: correlation; ``auto``:
        beads if most points of both clouds belong to beads.
    max_shift_nm
        Largest shift of the moving cloud's centre. None: any shift for which a tenth of the fields overlaps.
    max_angle_deg
        Largest rotation in either direction.
    seed
        Seed for choosing points if there are too many pairs.

    Raises
    ------
    ConfigError
        Unknown model or method, invalid limits, or clouds in different coordinates.
    TableError
        The map cannot be determined from the clouds.
    """
    _check(fixed, moving, model, method, max_shift_nm, max_angle_deg)
    if fixed.num_axes != moving.num_axes:
        fixed, moving = fixed.lateral(), moving.lateral()
    angle = math.radians(max_angle_deg)
    if method != "structure":
        beads = find_beads(fixed), find_beads(moving)
        if method == "beads" or _are_beads((fixed, moving), beads):
            aligned = align_beads(*beads, model, max_shift_nm=max_shift_nm, max_angle_rad=angle)
            return _within(_record(fixed, moving, aligned), max_shift_nm, max_angle_deg)
    aligned = align_structure(fixed, moving, model, max_shift_nm=max_shift_nm, max_angle_rad=angle, seed=seed)
    return _within(_record(fixed, moving, aligned), max_shift_nm, max_angle_deg)


def _within(found: Transformation, max_shift_nm: float | None, max_angle_deg: float) -> Transformation:
    """Return a map; refuse one that clearly exceeds the limits, which only the first step of the search obeys."""
    shift, error = math.hypot(*found.shift_nm[:2]), math.hypot(*found.sigmas[:2])
    angle, angle_error = abs(found.angle_deg), found.angle_sigma_deg
    exceeds = []
    if max_shift_nm is not None and shift > max_shift_nm + _SIGMAS * error:
        exceeds.append(f"a shift of {shift:.1f} nm, above {max_shift_nm:g} nm (--max-shift-nm)")
    if angle > max_angle_deg + _SIGMAS * angle_error:
        exceeds.append(f"a rotation of {angle:.3g} degrees, above {max_angle_deg:g} degrees (--max-angle-deg)")
    if exceeds:
        raise TableError(
            f"The best alignment of {found.moving} with {found.fixed} has {' and '.join(exceeds)}; raise the limit if "
            "this is possible, or give tables that show the same structure."
        )
    return found


def _are_beads(clouds: tuple[Cloud, Cloud], beads: tuple[Cloud, Cloud]) -> bool:
    """Return whether both clouds consist mostly of beads: seen in most volumes, or few detections in a few images."""
    for cloud, found in zip(clouds, beads, strict=True):
        if cloud.num_volumes < 4:
            if not _MIN_BEADS <= len(cloud) <= _FEW_POINTS:
                return False
            continue
        if len(found) < _MIN_BEADS:
            return False
        away, _ = cKDTree(found.position_ND[:, :2]).query(cloud.position_ND[:, :2])
        if float((away < _BEAD_RADIUS_NM).mean()) < _BEAD_SHARE:
            return False
    return True


def _record(fixed: Cloud, moving: Cloud, aligned: Aligned) -> Transformation:
    at = moving.position_ND[:: max(1, len(moving) // 1000)]
    return Transformation(
        model=aligned.model.name,
        coords=moving.coords,
        pivot_nm=tuple(float(value) for value in aligned.model.pivot_D),
        values=tuple(float(value) for value in aligned.fit.values_P),
        parameters=aligned.model.parameters,
        covariance=tuple(tuple(float(value) for value in row) for row in aligned.fit.covariance_PP),
        fixed=fixed.name,
        moving=moving.name,
        method=aligned.method,
        support=aligned.support,
        error_nm=tuple(float(value) for value in aligned.fit.error_nm(aligned.model, at)),
    )


def _check(
    fixed: Cloud, moving: Cloud, model: str, method: str, max_shift_nm: float | None, max_angle_deg: float
) -> None:
    if model not in MODELS:
        raise ConfigError(f"{model!r} is not a map; choose {', '.join(MODELS)}.")
    if method not in METHODS:
        raise ConfigError(f"{method!r} is not a method; choose {', '.join(METHODS)}.")
    if max_shift_nm is not None and not 0 < max_shift_nm < math.inf:
        raise ConfigError(f"max_shift_nm is {max_shift_nm:g}; expected a positive number.")
    if not 0 <= max_angle_deg <= 180:
        raise ConfigError(f"max_angle_deg is {max_angle_deg:g}; expected 0 to 180.")
    if fixed.coords != moving.coords:
        raise ConfigError(
            f"{fixed.name} is in {fixed.coords} coordinates, but {moving.name} in {moving.coords} ones; give the "
            "geometry to both tables, or to neither."
        )
