"""Point emitters as NumPy arrays: from simulations, from tables, and for evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Emitters:
    """Emitters by frame: one row for each frame in which an emitter is visible. All arrays have the same length.

    Positions are in nm: x along columns and y along rows from the centre of pixel [0, 0], z from the focus of the
    emitter's own plane.
    """

    frame: Integers
    """Frame number: volume * P + plane, 0-based."""
    x_nm: Floats
    y_nm: Floats
    z_nm: Floats
    """z in nm; NaN for 2-D data."""
    photons: Floats
    """Photons detected in this frame; NaN if unknown."""
    bg: Floats
    """Background, photons per pixel; NaN if unknown."""
    id: Integers
    """Number of the molecule; -1 if unknown."""
    x_sig: Floats
    """Predicted standard deviation of x, nm; NaN in ground truth."""
    y_sig: Floats
    z_sig: Floats
    phot_sig: Floats
    prob: Floats
    """Detection probability; NaN in ground truth."""

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def from_columns(cls, columns: Mapping[str, npt.ArrayLike]) -> "Emitters":
        """Make emitters from columns, with ``frame``, ``x_nm`` and ``y_nm``; others default to NaN, ``id`` to -1."""
        length = len(np.asarray(columns["frame"]))
        values: dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float64]] = {}
        for field in fields(cls):
            if field.name in ("frame", "id"):
                default = np.full(length, -1, dtype=np.int64)
                values[field.name] = np.asarray(columns.get(field.name, default), dtype=np.int64)
            else:
                values[field.name] = np.asarray(columns.get(field.name, np.full(length, np.nan)), dtype=np.float64)
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def concatenate(cls, parts: Sequence["Emitters"]) -> "Emitters":
        """Concatenate emitters in the given order; an empty sequence gives no emitters."""
        if not parts:
            return cls.from_columns({name: [] for name in ("frame", "x_nm", "y_nm")})
        return cls(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(cls)})

    def select(self, keep: npt.NDArray[np.bool_] | Integers) -> "Emitters":
        """Return the rows selected by a mask or an index."""
        return Emitters(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})
