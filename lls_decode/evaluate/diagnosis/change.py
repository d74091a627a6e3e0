"""Conversion of a truth to the conventions of the table that it judges: frames, axes, units, origin."""

import math
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError

Integers = npt.NDArray[np.int64]
PlaneOrder = Literal["as_is", "reversed", "alternating", "transposed"]
PLANE_ORDERS: Final = ("as_is", "reversed", "alternating", "transposed")


@dataclass(frozen=True)
class TruthChange:
    """Changes applied to a truth before comparison, in the order of the fields; by default none."""

    frame_shift: int = 0
    """Number added to each frame."""
    planes: PlaneOrder = "as_is"
    """How the truth numbers the planes of a volume: ``reversed`` (last plane first), ``alternating`` (every second
    volume reversed), or ``transposed`` (frame = plane * volumes + volume)."""
    axes: tuple[str, str, str] = ("x", "y", "z")
    """Axes of the truth that become x, y, z; ``-x`` is mirrored."""
    scale: float = 1.0
    """Factor of x and y."""
    z_scale: float = 1.0
    """Factor of z."""
    shift_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Translation added to x, y, z."""
    photons_factor: float = 1.0
    ignore_z: bool = False
    """Whether to compare only x and y."""

    def __post_init__(self) -> None:
        plain = tuple(axis.removeprefix("-") for axis in self.axes)
        if sorted(plain[:2]) != ["x", "y"] or plain[2:] != ("z",):
            raise ConfigError(
                f"Axes of the truth are {','.join(self.axes)}; expected x and y in either order and then z, each with "
                "or without a minus, e.g. y,x,z or -x,y,z."
            )
        for name in ("scale", "z_scale", "photons_factor"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"The factor {name} of the truth is {value:g}; expected a number above 0.")
        if self.planes not in PLANE_ORDERS:
            raise ConfigError(f"The order of planes is {self.planes!r}; expected one of {', '.join(PLANE_ORDERS)}.")

    def apply(self, truth: Emitters, *, planes_per_volume: int = 1) -> Emitters:
        """Apply the change to a truth.

        Raises
        ------
        ConfigError
            An order of planes was given, but the table has single planes.
        """
        if self.planes != "as_is" and planes_per_volume < 2:
            raise ConfigError(
                f"The planes of the truth are said to be {self.planes}, but the table has one plane per volume; omit "
                "the order of planes, or import the table with --planes-per-volume."
            )
        changed = self.place(truth)
        return replace(
            changed, frame=self.map_frames(truth.frame, planes_per_volume, num_volumes(truth, self, planes_per_volume))
        )

    def place(self, truth: Emitters) -> Emitters:
        """Apply everything except the change of frames."""
        factors = (self.scale, self.scale, self.z_scale)
        moved = {
            f"{name}_nm": factor * (-1.0 if axis.startswith("-") else 1.0) * getattr(truth, f"{axis[-1]}_nm") + shift
            for name, axis, factor, shift in zip("xyz", self.axes, factors, self.shift_nm, strict=True)
        }
        if self.ignore_z:
            moved["z_nm"] = np.full(len(truth), np.nan)
        return replace(truth, **moved, photons=truth.photons * self.photons_factor)

    def map_frames(self, frame: Integers, planes_per_volume: int, volumes: int) -> Integers:
        """Return the frames of the table that correspond to frames of the truth."""
        frame, P = frame + self.frame_shift, planes_per_volume
        volume, plane = np.divmod(frame, P)
        if self.planes == "reversed":
            return np.asarray(volume * P + P - 1 - plane)
        if self.planes == "alternating":
            return np.asarray(np.where(volume % 2 == 1, volume * P + P - 1 - plane, frame))
        if self.planes == "transposed":
            plane, volume = np.divmod(frame, volumes)
            return np.asarray(volume * P + plane)
        return frame

    def unmap_frames(self, frame: Integers, planes_per_volume: int, volumes: int) -> Integers:
        """Return the frames of the truth that correspond to frames of the table: the inverse of `map_frames`."""
        P = planes_per_volume
        if self.planes == "transposed":
            volume, plane = np.divmod(frame, P)
            return np.asarray(
                np.where(volume < volumes, plane * volumes + volume, -1 - abs(self.frame_shift)) - self.frame_shift
            )
        return np.asarray(replace(self, frame_shift=0).map_frames(frame, P, volumes) - self.frame_shift)

    def then(self, after: "TruthChange") -> "TruthChange":
        """Combine this change with a later one; planes are not renumbered twice."""
        planes = after.planes if self.planes == "as_is" else self.planes
        before, axes, shift = dict(zip("xyz", range(3), strict=True)), [], []
        for axis, factor, added in zip(
            after.axes, (after.scale, after.scale, after.z_scale), after.shift_nm, strict=True
        ):
            number = before[axis[-1]]
            sign = -1.0 if axis.startswith("-") else 1.0
            turned = axis.startswith("-") != self.axes[number].startswith("-")
            axes.append(("-" if turned else "") + self.axes[number][-1])
            shift.append(factor * sign * self.shift_nm[number] + added)
        return TruthChange(
            frame_shift=self.frame_shift + after.frame_shift,
            planes=planes,
            axes=(axes[0], axes[1], axes[2]),
            scale=self.scale * after.scale,
            z_scale=self.z_scale * after.z_scale,
            shift_nm=(shift[0], shift[1], shift[2]),
            photons_factor=self.photons_factor * after.photons_factor,
            ignore_z=self.ignore_z or after.ignore_z,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, as plain values."""
        plain = TruthChange()
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if value != getattr(plain, name)
        }

    def options(self, first_frame: int) -> str:
        """Return the options of ``lls-decode evaluate`` that make this change.

        ``first_frame`` is the number of the first frame in the format of the truth.
        """
        words = []
        if self.frame_shift:
            words.append(f"--truth-first-frame={first_frame - self.frame_shift}")
        if self.planes != "as_is":
            words.append(f"--truth-planes={self.planes}")
        if self.axes != ("x", "y", "z"):
            words.append(f"--truth-axes={','.join(self.axes)}")
        if self.scale != 1:
            words.append(f"--truth-scale={self.scale:.6g}")
        if self.z_scale != 1:
            words.append(f"--truth-z-scale={self.z_scale:.6g}")
        if self.shift_nm != (0.0, 0.0, 0.0):
            words.append("--truth-shift-nm " + " ".join(f"{value:.6g}" for value in self.shift_nm))
        if self.photons_factor != 1:
            words.append(f"--truth-photons-factor={self.photons_factor:.4g}")
        if self.ignore_z:
            words.append("--ignore-z")
        return " ".join(words)


def num_volumes(truth: Emitters, change: TruthChange, planes_per_volume: int) -> int:
    """Return the number of volumes that the truth spans, for numbering by planes first."""
    last = int(truth.frame.max()) + change.frame_shift if len(truth) else 0
    return max(-(-(last + 1) // planes_per_volume), 1)
