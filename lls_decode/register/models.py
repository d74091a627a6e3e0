"""Models of the map and their parameters: shift, rigid, affine.

A point is moved to ``pivot + A (point - pivot) + shift``. ``A`` rotates or deforms within the plane of x and y; z is
only shifted. Shape letters: ``N`` points, ``D`` axes (2 or 3), ``P`` parameters.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ModelName = Literal["shift", "rigid", "affine"]
MODELS: tuple[ModelName, ...] = get_args(ModelName)
_LINEAR = {"shift": (), "rigid": ("angle_rad",), "affine": ("a_xx", "a_xy", "a_yx", "a_yy")}
"""Parameters of ``A``; those of the affine map are differences from the identity."""


@dataclass(frozen=True)
class Model:
    """A family of maps around a pivot."""

    name: ModelName
    pivot_D: Floats
    """Pivot of the map, nm."""

    @property
    def num_axes(self) -> int:
        """2 or 3."""
        return len(self.pivot_D)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters: shifts in nm, an angle in radians, or elements of a matrix."""
        return (*(f"shift_{axis}_nm" for axis in "xyz"[: self.num_axes]), *_LINEAR[self.name])

    def start(self, angle_rad: float, shift_D: Floats) -> Floats:
        """Return the parameters ``(P,)`` of a rotation and a shift; the angle is ignored by ``shift``."""
        linear = {
            "shift": [],
            "rigid": [angle_rad],
            "affine": [np.cos(angle_rad) - 1, -np.sin(angle_rad), np.sin(angle_rad), np.cos(angle_rad) - 1],
        }[self.name]
        return np.array([*shift_D, *linear])

    def matrix(self, values_P: Floats) -> Floats:
        """Return the linear part ``(D, D)`` of the map."""
        matrix_DD = np.eye(self.num_axes)
        linear = values_P[self.num_axes :]
        if self.name == "rigid":
            matrix_DD[:2, :2] = rotation(float(linear[0]))
        elif self.name == "affine":
            matrix_DD[:2, :2] += linear.reshape(2, 2)
        return matrix_DD

    def move(self, position_ND: Floats, values_P: Floats) -> Floats:
        """Return the moved points ``(N, D)``."""
        moved = (position_ND - self.pivot_D) @ self.matrix(values_P).T
        return np.asarray(moved + self.pivot_D + values_P[: self.num_axes])

    def jacobian(self, position_ND: Floats, values_P: Floats) -> Floats:
        """Return the derivatives ``(N, D, P)`` of moved points by the parameters."""
        num, axes = len(position_ND), self.num_axes
        jacobian_NDP = np.zeros((num, axes, len(values_P)))
        jacobian_NDP[:, range(axes), range(axes)] = 1.0
        arm_N2 = (position_ND - self.pivot_D)[:, :2]
        if self.name == "rigid":
            jacobian_NDP[:, :2, axes] = arm_N2 @ rotation(float(values_P[axes]) + np.pi / 2).T
        elif self.name == "affine":
            jacobian_NDP[:, 0, axes : axes + 2] = arm_N2
            jacobian_NDP[:, 1, axes + 2 : axes + 4] = arm_N2
        return jacobian_NDP


def rotation(angle_rad: float) -> Floats:
    """Return the matrix ``(2, 2)`` of a rotation from x towards y."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cosine, -sine], [sine, cosine]])
