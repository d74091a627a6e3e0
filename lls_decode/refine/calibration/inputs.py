"""Comparison of the settings of a calibration with what the bead stacks state and allow."""

from collections.abc import Sequence

import numpy as np

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError
from lls_decode.refine.calibration.beads import BeadStack

_TOLERANCE = 0.02
"""Largest relative difference between two statements of the same size."""
_DARKEST_ADU = 20.0
"""Counts of the darkest pixel of a stack from which a camera offset of 0 is unlikely."""


def resolve_step(given: float | None, stacks: Sequence[BeadStack]) -> float:
    """Return the given z step, else the step that the files state.

    Raises
    ------
    ConfigError
        The step is unknown or impossible, or the files state different steps.
    """
    told = {stack.path.name: stack.z_step_nm for stack in stacks if stack.z_step_nm is not None}
    step = given if given is not None else next(iter(told.values()), None)
    if step is None:
        raise ConfigError("The z step is missing from the metadata of the bead stacks; give --z-step-nm.")
    if step == 0 or not np.isfinite(step):
        raise ConfigError(
            f"The z step is {step:g} nm, expected the distance between slices; give a negative step when z decreases."
        )
    if given is None and any(_differ(other, step) for other in told.values()):
        steps = ", ".join(f"{other:g} nm in {name}" for name, other in told.items())
        raise ConfigError(f"The bead stacks state different z steps ({steps}); give the right one with --z-step-nm.")
    return step


def input_notes(
    stacks: Sequence[BeadStack], *, z_step_nm: float, pixel: PixelSize, roi_px: tuple[int, int], offset_adu: float
) -> list[str]:
    """Return remarks on settings that contradict the files, or that the files do not allow.

    ``roi_px`` is the side of the PSF as configured and as used.
    """
    notes = []
    wanted, used = roi_px
    if used < wanted:
        notes.append(
            f"the PSF has {used} x {used} pixels, not {wanted} x {wanted}: its side must be odd, and no larger than a "
            "frame of the stack (--roi-px)"
        )
    for stack in stacks:
        name, step, told = stack.path.name, stack.z_step_nm, stack.pixel
        if step is not None and _differ(step, z_step_nm):
            notes.append(f"{name} states a z step of {step:g} nm, but {abs(z_step_nm):g} nm is used (--z-step-nm)")
        if told is not None and (_differ(told.x_nm, pixel.x_nm) or _differ(told.y_nm, pixel.y_nm)):
            notes.append(
                f"{name} states pixels of {told.x_nm:g} x {told.y_nm:g} nm (x, y), but {pixel.x_nm:g} x {pixel.y_nm:g} "
                "nm is used (--pixel-nm, --pixel-y-nm)"
            )
    darkest = min(float(stack.adu_ZYX.min()) for stack in stacks)
    if offset_adu == 0 and darkest > _DARKEST_ADU:
        notes.append(
            f"the darkest pixel has {darkest:g} counts, but the camera offset is taken as 0: the PSF does not depend "
            "on it, but the fits that measure the error of z have wrong weights; give --offset-adu and --gain-adu-per-e"
        )
    return notes


def _differ(one: float, other: float) -> bool:
    """Whether two lengths differ, apart from their signs."""
    return abs(abs(one / other) - 1) > _TOLERANCE
