"""Reading and writing of PSF calibration files: our ``.npz`` (PSF volume) and SMAP's ``_3dcal.mat`` (coefficients).

SMAP's struct ``SXY.cspline`` holds ``coeff`` (rows, columns, slices, 64), ``x0`` (centre for both rows and columns,
counted from 1), ``z0`` (slice in focus, counted from 0) and ``dz`` (nm per slice). The PSF at the pixel in row i and
column j is evaluated at voxel (i - row + x0 - 1, j - column + x0 - 1, z0 - z / dz). Coefficient 16 c + 4 b + a belongs
to the powers a (rows), b (columns), c (slices). This is DECODE's convention; its z has the opposite sign of z in a SMAP
fit.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from lls_decode.config import PixelSize, SplinePsf
from lls_decode.documents import parse_json
from lls_decode.errors import ConfigError
from lls_decode.optics.spline import CubicSpline, SplineModel, spline_from_volume
from lls_decode.outputs import PROGRAM, note_read
from lls_decode.system import real_path
from lls_decode.unpacking import check_array_file, check_bytes

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_MATLAB_TEXT = f"MATLAB 5.0 MAT-file, Platform: {PROGRAM.replace('_', '-')}, a PSF for SMAP and DECODE"
"""Header text that replaces that of scipy, so that `lls_decode.table.marks` recognises the file."""
_MOST_REFERENCES: Final = 10
"""Largest number of references from a cell to its value; files of SMAP have one or two."""
_ADVICE = "give a .npz from 'lls-decode calibrate' or a _3dcal.mat from SMAP"


@dataclass(frozen=True)
class FileState:
    """Path, size and modification time of a file, which identify its current contents."""

    path: Path
    num_bytes: int
    modified_ns: int


def file_state(path: str | Path) -> FileState:
    """Return the current state of a calibration file.

    Raises
    ------
    ConfigError
        The file does not exist or cannot be accessed.
    """
    path = real_path(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(f"PSF calibration {path} cannot be read ({error.strerror}); {_ADVICE}.") from error
    return FileState(path, stat.st_size, stat.st_mtime_ns)


def content_digest(path: str | Path) -> str:
    """Return a digest of a calibration file, sixteen hexadecimal digits, for `SplinePsf.content`."""
    with file_state(path).path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def spline_psf(path: str | Path) -> SplinePsf:
    """Return a PSF configuration that refers to a calibration file and accepts only its current contents."""
    return SplinePsf(path=str(real_path(path)), content=content_digest(path))


def read_spline(path: str | Path, *, content: str | None = None) -> CubicSpline:
    """Read a calibration file, and scale the light in focus to 1.

    Raises
    ------
    ConfigError
        The file is missing, is not a calibration, or does not match the digest in ``content``.
    """
    path = file_state(path).path
    note_read(path)
    if content is not None and content_digest(path) != content:
        raise ConfigError(
            f"PSF calibration {path} has digest {content_digest(path)}, expected {content}; give the file that the "
            "configuration was made with, or remove 'content' from the configuration."
        )
    if path.suffix.lower() == ".mat":
        return _read_smap(path)
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    raise ConfigError(f"PSF calibration {path} is of unknown type {path.suffix!r}; {_ADVICE}.")


def write_volume(
    path: Path,
    volume_ZYX: npt.ArrayLike,
    *,
    z_step_nm: float,
    pixel: PixelSize,
    focus: float,
    centre_x: float,
    centre_y: float,
    record: dict[str, Any],
) -> None:
    """Write a PSF volume as ``.npz``; arguments as in `spline_from_volume`, ``record`` describes its origin."""
    header = {
        "format_version": FORMAT_VERSION,
        "z_step_nm": z_step_nm,
        "pixel_nm": [pixel.x_nm, pixel.y_nm],
        "focus": focus,
        "centre": [centre_x, centre_y],
        "normalisation": "sum over the stamp in focus = 1",
        "record": record,
    }
    volume = np.asarray(volume_ZYX, dtype=np.float32)
    with path.open("wb") as file:
        np.savez_compressed(file, volume_ZYX=volume, header=np.asarray(json.dumps(header)))


def _read_npz(path: Path) -> CubicSpline:
    try:
        check_array_file(path)
        with np.load(path, allow_pickle=False) as stored:
            volume, header = stored["volume_ZYX"], parse_json(str(stored["header"]))
        if header["format_version"] != FORMAT_VERSION:
            raise ConfigError(
                f"PSF calibration {path} has format version {header['format_version']}, expected {FORMAT_VERSION}; use "
                "a matching version of this program."
            )
        pixel = PixelSize(x_nm=header["pixel_nm"][0], y_nm=header["pixel_nm"][1])
        place = {"focus": header["focus"], "centre_x": header["centre"][0], "centre_y": header["centre"][1]}
        step = header["z_step_nm"]
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # bytes of a damaged archive can have any value
        raise ConfigError(f"{path} is not a PSF calibration ({' '.join(str(error).split())}); {_ADVICE}.") from error
    return spline_from_volume(volume, z_step_nm=step, pixel=pixel, **place)


def write_smap(path: Path, spline: CubicSpline) -> None:
    """Write a ``_3dcal.mat`` (MATLAB v7) for SMAP and DECODE, in the convention described above.

    SMAP requires square stamps and the same centre for rows and columns. If the two centres have different fractional
    parts, the PSF is resampled with its centre on a pixel. Stamps are padded with zeros to make them square.
    """
    from scipy.io import savemat

    if abs((spline.centre_x - spline.centre_y + 0.5) % 1 - 0.5) > 1e-6:
        spline = _centred(spline)
    if spline.z_step_nm > 0:
        spline = spline.upside_down()  # SMAP's slice number decreases with our z
    have = spline.coefficients_ZYX444
    middle_y, middle_x = int(spline.centre_y + 1e-6), int(spline.centre_x + 1e-6)
    reach = max(middle_y, middle_x, have.shape[1] - middle_y, have.shape[2] - middle_x)
    padding = [
        (reach - middle, reach - size + middle)
        for middle, size in zip((middle_y, middle_x), have.shape[1:3], strict=True)
    ]
    square = np.pad(have, ((0, 0), *padding, (0, 0), (0, 0), (0, 0)))
    cell = np.empty((1, 1), dtype=object)
    cell[0, 0] = np.transpose(square, (1, 2, 0, 3, 5, 4)).reshape(2 * reach, 2 * reach, -1, 64).astype(np.float32)
    cspline = {
        "coeff": cell,
        "x0": spline.centre_x - middle_x + reach + 1,
        "z0": spline.focus,
        "dz": -spline.z_step_nm,
    }
    with path.open("wb") as file:
        savemat(file, {"SXY": {"cspline": cspline}}, do_compression=True)
        file.seek(0)
        file.write(_MATLAB_TEXT.encode("ascii").ljust(116))


def _read_smap(path: Path) -> CubicSpline:
    try:
        check_array_file(path)
        coeff, x0, z0, dz = _smap_hdf5(path) if _is_hdf5(path) else _smap_classic(path)
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # bytes of a damaged file can have any value
        raise ConfigError(
            f"{path} is not a SMAP calibration ({type(error).__name__}: {error}); expected a struct SXY.cspline with "
            f"coeff, x0, z0 and dz; {_ADVICE}."
        ) from error
    if coeff.ndim != 4 or coeff.shape[-1] != 64 or not np.isfinite(coeff).all() or not dz > 0:
        raise ConfigError(
            f"{path} has coefficients of shape {coeff.shape} and dz {dz:g}, expected (rows, columns, slices, 64) "
            f"finite numbers and a positive dz; {_ADVICE}."
        )
    powers = coeff.reshape(*coeff.shape[:3], 4, 4, 4)
    spline = CubicSpline(
        np.ascontiguousarray(np.transpose(powers, (2, 0, 1, 3, 5, 4)), dtype=np.float64),
        centre_x=x0 - 1,
        centre_y=x0 - 1,
        focus=z0,
        z_step_nm=-dz,
    )
    light = spline.light_in_focus()
    if abs(light - 1) > 0.01:
        logger.info("%s: light in focus %.4f, scaled to 1", path.name, light)
    return spline.normalised()


def _centred(spline: CubicSpline) -> CubicSpline:
    """Resample the PSF so that its centre is at the centre of a pixel."""
    model = SplineModel(spline, dtype=torch.float64)
    radius = model.radius_px((0, 0))
    nodes = len(spline.coefficients_ZYX444) + 1
    z_nm = (torch.arange(nodes, dtype=torch.float64) - spline.focus) * spline.z_step_nm
    centre = torch.full((nodes,), float(radius), dtype=torch.float64)
    volume = model.shares(centre, centre, z_nm, height=2 * radius + 1, width=2 * radius + 1)
    return spline_from_volume(volume.numpy(), z_step_nm=spline.z_step_nm, pixel=spline.pixel, focus=spline.focus)


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(10) == b"MATLAB 7.3"


def _smap_classic(path: Path) -> tuple[npt.NDArray[Any], float, float, float]:
    from scipy.io import loadmat

    cspline = np.atleast_1d(loadmat(path, struct_as_record=False, squeeze_me=True)["SXY"])[0].cspline
    coeff = cspline.coeff
    if coeff.dtype == object:
        coeff = coeff.flat[0]
    return np.asarray(coeff), float(cspline.x0), float(cspline.z0), float(cspline.dz)


def _smap_hdf5(path: Path) -> tuple[npt.NDArray[Any], float, float, float]:
    """Read SMAP's struct from MATLAB v7.3, which stores arrays with reversed axes and cells as references."""
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            f"{path} is a MATLAB v7.3 file, which needs h5py; run: pip install 'lls-decode[export]', "
            "or save it with -v7."
        ) from error
    with h5py.File(path) as file:

        def look(place: Any) -> Any:
            for _ in range(_MOST_REFERENCES):
                if not (isinstance(place, h5py.Dataset) and place.dtype == h5py.ref_dtype):
                    return place
                place = file[place[()].flat[0]]
            raise ValueError("a reference refers to itself")

        cspline = look(look(file["SXY"])["cspline"])
        stored = look(cspline["coeff"])
        check_bytes(stored.nbytes)
        coeff = stored[()]
        x0, z0, dz = (float(np.ravel(look(cspline[name])[()])[0]) for name in ("x0", "z0", "dz"))
    return np.asarray(coeff).T, x0, z0, dz
