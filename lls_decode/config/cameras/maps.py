"""The only reader of camera maps: one number a pixel, from the files that people have.

A path names a .npy, .npz, TIFF or MATLAB file (v5 or v7.3). Where a file holds several arrays, the one that is named
like the value is taken (``offset_adu`` or ``offset``), or the one that is asked for: ``calibration.mat::dark``.
"""

import importlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.errors import ConfigError

_NAME_SEPARATOR = "::"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MATLAB_HEADER_BYTES = 512
_WHOLE_FILE = ""
"""Name of the array of a file that holds only one."""
_ADVICE = (
    "give a number, or a .npy, .npz, TIFF or MATLAB file with one finite number a pixel, cropped to the recorded "
    "region of the chip"
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rule:
    """Which numbers a value may hold."""

    words: str
    least: float = -np.inf
    allows_least: bool = True

    def allows(self, values: Array) -> bool:
        """Whether all values are allowed."""
        return bool((values >= self.least).all() if self.allows_least else (values > self.least).all())


ANY_NUMBER = Rule("every pixel needs a number")
ABOVE_0 = Rule("every pixel needs a positive gain, above 0", least=0.0, allows_least=False)
NOT_BELOW_0 = Rule("a variance is never below 0", least=0.0)


def read_value(
    name: str, value: float | str, size: tuple[int, int] | None, rule: Rule = ANY_NUMBER
) -> npt.NDArray[np.float64]:
    """Read a value of a camera: an array () of a number, or (Y, X) from the path of a map.

    Parameters
    ----------
    name
        Field of the camera.
    value
        A number or a path, with ``::NAME`` behind it to choose among the arrays of a file.
    size
        Rows and columns that a map must have; None: any.
    rule
        Which numbers are allowed.

    Raises
    ------
    ConfigError
        The map cannot be read, has another shape, or holds impossible numbers.
    """
    if not isinstance(value, str):
        return np.asarray(float(value))
    what = f"camera.{name}: map {value}"
    loaded = _load(name, value, what)
    if loaded.dtype.kind not in "fiu":
        raise ConfigError(f"{what} holds {loaded.dtype}, which are no numbers; {_ADVICE}.")
    if loaded.ndim != 2:
        raise ConfigError(f"{what} has shape {loaded.shape}, expected rows and columns; {_ADVICE}.")
    if size is not None and loaded.shape != size:
        swapped = " (rows and columns are swapped)" if loaded.shape == size[::-1] else ""
        raise ConfigError(
            f"{what} has shape {loaded.shape}, frames have {size} pixels (y, x){swapped}; cut the map to the recorded "
            "region of the chip."
        )
    if not np.isfinite(loaded).all():
        raise ConfigError(f"{what} holds NaN or infinite values, which are no numbers; {_ADVICE}.")
    if not rule.allows(loaded):
        raise ConfigError(f"{what} holds {loaded.min():g}, but {rule.words}; correct the map.")
    return loaded.astype(np.float64)


def crop_values(values: Mapping[str, Any], y: slice, x: slice) -> dict[str, Any]:
    """Cut maps (..., Y, X) to a rectangle of the chip; single numbers stay. For NumPy arrays and torch tensors."""
    return {name: value[..., y, x] if value.ndim else value for name, value in values.items()}


def absolute(path: str, folder: Path) -> str:
    """Return the path of a map with a relative one taken from ``folder``."""
    file, separator, array = path.partition(_NAME_SEPARATOR)
    return f"{(folder / file).resolve()}{separator}{array}"


def content(path: str) -> bytes:
    """Return what determines the numbers of a map: the bytes of its file, and which array is meant."""
    file, separator, array = path.partition(_NAME_SEPARATOR)
    return Path(file).read_bytes() + f"{separator}{array}".encode()


def _load(name: str, value: str, what: str) -> Array:
    file, _, wanted = value.partition(_NAME_SEPARATOR)
    path = Path(file)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{what} is of unknown type {path.suffix!r}; {_ADVICE}.")
    try:
        arrays = reader(path)
    except ConfigError:
        raise
    except Exception as error:  # four libraries, each with errors of its own for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{what} cannot be read ({reason}); {_ADVICE}.") from error
    return _choose(name, arrays, wanted, what)


def _choose(name: str, arrays: dict[str, Array], wanted: str, what: str) -> Array:
    """The array that is asked for, the only one, or the one that is named like the value."""
    if wanted:
        if wanted not in arrays:
            raise ConfigError(f"{what}: the file holds {_names(arrays)}, not {wanted!r}; give one of them.")
        return arrays[wanted]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    own = {name, name.split("_")[0]}
    named = [array for key, array in arrays.items() if key.rpartition(".")[2].lower() in own]
    if len(named) != 1:
        raise ConfigError(
            f"{what} holds {_names(arrays)}, expected one array, or one named {' or '.join(sorted(own))}; choose one "
            f"by its name, {what.rpartition(' ')[2]}{_NAME_SEPARATOR}{next(iter(arrays), 'NAME')}."
        )
    return named[0]


def _names(arrays: dict[str, Array]) -> str:
    return f"arrays {', '.join(arrays)}" if arrays else "no array of numbers"


def _read_npy(path: Path) -> dict[str, Array]:
    return {_WHOLE_FILE: np.load(path, allow_pickle=False)}


def _read_npz(path: Path) -> dict[str, Array]:
    if not zipfile.is_zipfile(path):
        raise ValueError("no zip archive of arrays" if path.exists() else f"no such file: {path}")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_tiff(path: Path) -> dict[str, Array]:
    return {_WHOLE_FILE: np.asarray(_module("tifffile", "TIFF maps", "convert").imread(path))}


def _read_matlab(path: Path) -> dict[str, Array]:
    with path.open("rb") as file:
        head = file.read(_MATLAB_HEADER_BYTES + len(_HDF5_SIGNATURE))
    if _HDF5_SIGNATURE in (head[: len(_HDF5_SIGNATURE)], head[_MATLAB_HEADER_BYTES:]):
        return _read_matlab_hdf5(path)
    from scipy.io import loadmat

    found: dict[str, Array] = {}
    _collect(loadmat(path, simplify_cells=True), "", found)
    return found


def _collect(struct: Mapping[str, Any], prefix: str, found: dict[str, Array]) -> None:
    """Numbers of the structs of a MATLAB file, by dotted names; single numbers are settings, no maps."""
    for key, value in struct.items():
        if isinstance(value, Mapping):
            _collect(value, f"{prefix}{key}.", found)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.size > 1:
            found[f"{prefix}{key}"] = value


def _read_matlab_hdf5(path: Path) -> dict[str, Array]:
    """MATLAB's order of axes is the other one."""
    h5py = _module("h5py", "MATLAB v7.3 maps", "export")
    found: dict[str, Array] = {}

    def visit(name: str, item: Any) -> None:
        is_numbers = isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.size > 1
        if is_numbers and not name.startswith("#") and item.attrs.get("MATLAB_class") != b"char":
            found[name.replace("/", ".")] = np.asarray(item).T

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def _module(name: str, what: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{what} need {name}, which is not installed; run: pip install 'lls-decode[{extra}]'."
        ) from error


_READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".mat": _read_matlab,
}
