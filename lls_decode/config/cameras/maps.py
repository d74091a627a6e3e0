"""Reader of camera maps, which hold one number per pixel, from common file formats.

A path names a .npy, .npz, TIFF or MATLAB file (v5 or v7.3). If a file holds several arrays, the array with the name of
the value is used (``offset_adu`` or ``offset``), unless the path names one: ``calibration.mat::dark``.
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
from lls_decode.outputs import note_read
from lls_decode.system import real_path
from lls_decode.unpacking import check_array_file, check_bytes

_NAME_SEPARATOR = "::"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MATLAB_HEADER_BYTES = 512
_WHOLE_FILE = ""
"""Name given to the array of a file format that holds only one array."""
_ADVICE = (
    "give a number, or a .npy, .npz, TIFF or MATLAB file with one finite number per pixel, cropped to the recorded "
    "region of the chip"
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rule:
    """Rule for the numbers that a value may have."""

    words: str
    least: float = -np.inf
    allows_least: bool = True

    def allows(self, values: Array) -> bool:
        """Return whether all values are allowed."""
        return bool((values >= self.least).all() if self.allows_least else (values > self.least).all())


ANY_NUMBER = Rule("every pixel needs a number")
ABOVE_0 = Rule("every pixel needs a positive gain, above 0", least=0.0, allows_least=False)
NOT_BELOW_0 = Rule("a variance is never below 0", least=0.0)


def read_value(
    name: str, value: float | str, size: tuple[int, int] | None, rule: Rule = ANY_NUMBER
) -> npt.NDArray[np.float64]:
    """Read a value of a camera as an array: shape () from a number, (Y, X) from the path of a map.

    Parameters
    ----------
    name
        Field of the camera.
    value
        A number or a path, optionally followed by ``::NAME`` to choose an array of the file.
    size
        Rows and columns that a map must have; None: any.
    rule
        Rule for allowed numbers.

    Raises
    ------
    ConfigError
        The map cannot be read, has another shape, or holds invalid numbers.
    """
    if not isinstance(value, str):
        return np.asarray(float(value))
    what = f"camera.{name}: map {value}"
    loaded = _load(name, value, what)
    if loaded.dtype.kind not in "fiu":
        raise ConfigError(f"{what} holds {loaded.dtype}, expected numbers; {_ADVICE}.")
    if loaded.ndim != 2:
        raise ConfigError(f"{what} has shape {loaded.shape}, expected rows and columns; {_ADVICE}.")
    if size is not None and loaded.shape != size:
        swapped = " (rows and columns are swapped)" if loaded.shape == size[::-1] else ""
        raise ConfigError(
            f"{what} has shape {loaded.shape}, but frames have {size} pixels (y, x){swapped}; crop the map to the "
            "recorded region of the chip."
        )
    if not np.isfinite(loaded).all():
        raise ConfigError(f"{what} holds NaN or infinite values; {_ADVICE}.")
    if not rule.allows(loaded):
        raise ConfigError(f"{what} holds {loaded.min():g}, but {rule.words}; correct the map.")
    return loaded.astype(np.float64)


def crop_values(values: Mapping[str, Any], y: slice, x: slice) -> dict[str, Any]:
    """Crop maps (..., Y, X), as NumPy arrays or torch tensors, to a rectangle of the chip; keep single numbers."""
    return {name: value[..., y, x] if value.ndim else value for name, value in values.items()}


def absolute(path: str, folder: Path) -> str:
    """Return the absolute path of a map, whose relative path starts from ``folder``."""
    file, separator, array = path.partition(_NAME_SEPARATOR)
    return f"{real_path(folder / file)}{separator}{array}"


def content(path: str) -> bytes:
    """Return bytes that identify the numbers of a map: the contents of its file and the name of the array."""
    file, separator, array = path.partition(_NAME_SEPARATOR)
    return Path(file).read_bytes() + f"{separator}{array}".encode()


def _load(name: str, value: str, what: str) -> Array:
    file, _, wanted = value.partition(_NAME_SEPARATOR)
    path = Path(file)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{what} is of unknown type {path.suffix!r}; {_ADVICE}.")
    try:
        note_read(path)
        check_array_file(path)
        arrays = reader(path)
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # four libraries, which raise different errors for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{what} cannot be read ({reason}); {_ADVICE}.") from error
    return _choose(name, arrays, wanted, what)


def _choose(name: str, arrays: dict[str, Array], wanted: str, what: str) -> Array:
    """Return the requested array, the only array, or the array with the name of the value."""
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
        raise ValueError("not a zip archive of arrays" if path.exists() else f"no such file: {path}")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_tiff(path: Path) -> dict[str, Array]:
    tifffile = _module("tifffile", "TIFF maps", "convert")
    with tifffile.TiffFile(path) as file:
        check_bytes(file.series[0].nbytes)
        return {_WHOLE_FILE: np.asarray(file.asarray())}


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
    """Collect numeric arrays in structs of a MATLAB file by dotted name; skip single numbers, which are settings."""
    for key, value in struct.items():
        if isinstance(value, Mapping):
            _collect(value, f"{prefix}{key}.", found)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.size > 1:
            found[f"{prefix}{key}"] = value


def _read_matlab_hdf5(path: Path) -> dict[str, Array]:
    """Read numeric arrays of a MATLAB v7.3 file, transposed because MATLAB stores the axes in reverse order."""
    h5py = _module("h5py", "MATLAB v7.3 maps", "export")
    found: dict[str, Array] = {}

    def visit(name: str, item: Any) -> None:
        is_numbers = isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.size > 1
        if is_numbers and not name.startswith("#") and item.attrs.get("MATLAB_class") != b"char":
            check_bytes(item.nbytes)
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
