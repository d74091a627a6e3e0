"""Record of the measured map, which is printed, saved in a file, and applied to tables."""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from lls_decode.config import Config, digest, load
from lls_decode.outputs import PROGRAM, note_read
from lls_decode.register.models import Model, ModelName
from lls_decode.table.files import written_aside
from lls_decode.table.marks import TRANSFORMATION

Floats = npt.NDArray[np.float64]


class Transformation(Config):
    """A map of points: ``pivot + A (point - pivot) + shift``; nm."""

    model: ModelName
    coords: Literal["raw", "sample"]
    """Coordinates of the points: of the sample if the geometry is known."""
    pivot_nm: tuple[float, ...] = Field(min_length=2, max_length=3)
    """Pivot: x and y, or x, y and z."""
    values: tuple[float, ...]
    """Values of the ``parameters``."""
    parameters: tuple[str, ...]
    covariance: tuple[tuple[float, ...], ...]
    """Covariance of the parameters."""
    fixed: str = ""
    moving: str = ""
    """Names of the two tables or channels."""
    method: str = "given"
    support: str = ""
    error_nm: tuple[float, ...] = ()
    """R.m.s. uncertainty of moved points along each axis, over the field."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        expected = Model(self.model, np.array(self.pivot_nm)).parameters
        if self.parameters != expected or len(self.values) != len(expected):
            raise ValueError(f"a map of kind {self.model} has the parameters {', '.join(expected)}, each with a value")
        if np.array(self.covariance).shape != (len(expected), len(expected)):
            raise ValueError(f"covariance is not a table of {len(expected)} x {len(expected)} numbers")
        return self

    @property
    def kind(self) -> Model:
        """Model of the map."""
        return Model(self.model, np.array(self.pivot_nm))

    @property
    def matrix(self) -> Floats:
        """Linear part ``(3, 3)`` of the map."""
        matrix = np.eye(3)
        axes = len(self.pivot_nm)
        matrix[:axes, :axes] = self.kind.matrix(np.array(self.values))
        return matrix

    @property
    def offset_nm(self) -> Floats:
        """Position ``(3,)`` that the origin is moved to: a point moves to ``matrix @ point + offset_nm``."""
        origin = np.zeros(3)
        axes = len(self.pivot_nm)
        origin[:axes] = self.kind.move(np.zeros((1, axes)), np.array(self.values))[0]
        return origin

    @property
    def shift_nm(self) -> Floats:
        """Shift ``(D,)`` of the pivot."""
        return np.array(self.values[: len(self.pivot_nm)])

    @property
    def sigmas(self) -> Floats:
        """Standard deviations ``(P,)`` of the parameters."""
        return np.asarray(np.sqrt(np.diag(np.array(self.covariance))))

    @property
    def angle_deg(self) -> float:
        """Rotation from x towards y; for an affine map, that of the nearest rotation."""
        a = self.matrix
        return float(np.degrees(np.arctan2(a[1, 0] - a[0, 1], a[0, 0] + a[1, 1])))

    @property
    def angle_sigma_deg(self) -> float:
        """Standard deviation of `angle_deg`; 0 for a shift."""
        axes, covariance = len(self.pivot_nm), np.array(self.covariance)
        if self.model == "shift":
            return 0.0
        if self.model == "rigid":
            return float(np.degrees(np.sqrt(covariance[axes, axes])))
        a = self.matrix
        u, v = a[1, 0] - a[0, 1], a[0, 0] + a[1, 1]
        slope = np.array([-u, -v, v, -u]) / (u**2 + v**2)
        return float(np.degrees(np.sqrt(slope @ covariance[axes:, axes:] @ slope)))

    def apply(self, position_N3: Floats) -> Floats:
        """Return the moved points ``(N, 3)``; z is unchanged if the map has no z, and infinite points have no place."""
        with np.errstate(invalid="ignore"):  # infinity times 0
            return np.asarray(position_N3 @ self.matrix.T + self.offset_nm)

    def sigma_at(self, position_ND: Floats) -> Floats:
        """Return the uncertainty ``(N, D)`` of moved points."""
        jacobian_NDP = self.kind.jacobian(position_ND, np.array(self.values))
        covariance = np.array(self.covariance)
        return np.asarray(np.sqrt(np.einsum("ndp,pq,ndq->nd", jacobian_NDP, covariance, jacobian_NDP)))

    def map_digest(self) -> str:
        """Return sixteen digits that identify the map itself, regardless of its other properties."""
        return digest([round(float(value), 9) for value in (*self.matrix.ravel(), *self.offset_nm)])

    def summary(self) -> dict[str, Any]:
        """Return the printed summary as values."""
        axes = len(self.pivot_nm)
        return {
            "model": self.model,
            "coords": self.coords,
            "method": self.method,
            "shift_nm": [round(float(value), 3) for value in self.shift_nm],
            "shift_sigma_nm": [round(float(value), 3) for value in self.sigmas[:axes]],
            "pivot_nm": [round(float(value), 1) for value in self.pivot_nm],
            "angle_deg": round(self.angle_deg, 6),
            "angle_sigma_deg": round(self.angle_sigma_deg, 6),
            "matrix": self.matrix.round(9).tolist(),
            "offset_nm": self.offset_nm.round(3).tolist(),
            "error_nm": [round(value, 3) for value in self.error_nm],
            "support": self.support,
        }


def write_transformation(path: str | Path, transformation: Transformation) -> Path:
    """Write a transformation as YAML.

    Raises
    ------
    OutputError
        Full disk, read-only folder, or a file that is not ours.
    """
    with written_aside(Path(path)) as temporary:
        temporary.write_text(f"# Written by {PROGRAM} {TRANSFORMATION}\n{transformation.to_yaml()}", encoding="utf-8")
    return Path(path)


def read_transformation(path: str | Path) -> Transformation:
    """Read a file of `write_transformation`.

    Raises
    ------
    ConfigError
        The file cannot be read, or does not hold a transformation.
    """
    note_read(path)
    return load(Transformation, path)
