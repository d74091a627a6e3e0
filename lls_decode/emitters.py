"""Point emitters on the host: what a simulation knows, what a table says, what an evaluation compares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Emitters:
    """Emitters by frame: one row for each frame in which an emitter is seen. All arrays have the same length.

    Positions are in nm; x is the column and y the row direction, 0 is the centre of pixel [0, 0]; z is from the focus
    of the emitter's own plane.
    """

    frame: Integers
    """volume * P + plane, 0-based."""
    x_nm: Floats
    y_nm: Floats
    z_nm: Floats
    """NaN for 2-D data."""
    photons: Floats
    """Photons detected in this frame; NaN when unknown."""
    bg: Floats
    """Background, photons per pixel; NaN when unknown."""
    id: Integers
    """Number of the molecule; -1 when unknown."""
    x_sig: Floats
    """Predicted 1-sigma, nm; NaN for a truth."""
    y_sig: Floats
    z_sig: Floats
    phot_sig: Floats
    prob: Floats
    """Detection probability; NaN for a truth."""

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def from_columns(cls, columns: Mapping[str, npt.ArrayLike]) -> "Emitters":
        """Make emitters from columns, ``frame``, ``x_nm`` and ``y_nm`` at least; absent ones are NaN, ``id`` is -1."""
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
        """Join emitters in the order given; none at all give none."""
        if not parts:
            return cls.from_columns({name: [] for name in ("frame", "x_nm", "y_nm")})
        return cls(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(cls)})

    def select(self, keep: npt.NDArray[np.bool_] | Integers) -> "Emitters":
        """The rows of a mask or an index."""
        return Emitters(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})
