"""Movies of other formats as a stream of frames: TIFF, OME-TIFF, directories of TIFFs, .dax, Picasso .raw.

Each format is one function that gives a `Movie`; frames are read a few at a time, so memory does not grow with length.

Shape letters: ``n`` a few consecutive frames, ``Y X`` pixels.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import yaml

from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.frames.stores import expand, has_magic

if TYPE_CHECKING:
    import tifffile

Frames = npt.NDArray[Any]

TIFF_SUFFIXES = {".tif", ".tiff", ".btf"}
BATCH_BYTES = 32 << 20


@dataclass(frozen=True)
class Movie:
    """A stream of frames in acquisition order."""

    num_frames: int
    height: int
    width: int
    dtype: np.dtype[Any]
    read: Callable[[], Iterator[Frames]]
    """Gives ``(n, Y, X)`` pieces from the first frame to the last."""
    planes: int = 1
    """Planes of a volume, when the file tells."""
    pixel_size: PixelSize | None = None
    z_step_nm: float | None = None
    notes: tuple[str, ...] = field(default=())


def open_movie(path: str | Path, *, axes: str | None = None) -> Movie:
    """Recognize a movie by its name and contents.

    Parameters
    ----------
    path
        A TIFF, ``.dax`` or ``.raw`` file, a directory of TIFFs, or a glob of them (natural order).
    axes
        Axes of one TIFF file, when its metadata are wrong: letters t c z y x, e.g. ``zyx``.

    Raises
    ------
    InputError
        The movie is absent, of an unknown format, or inconsistent.
    """
    text = str(path)
    if has_magic(text) or Path(text).is_dir():
        files = [item for item in expand(text) if Path(item).suffix.lower() in TIFF_SUFFIXES]
        if not files:
            raise InputError(f"{text} has no TIFF files (.tif, .tiff); give a movie, or a folder or pattern of TIFFs.")
        return _tiff_series(text, files, axes)
    path = Path(text)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a movie, or a folder or pattern of TIFFs.")
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return _tiff(path, axes)
    if suffix == ".dax":
        return _dax(path)
    if suffix == ".raw":
        return _picasso_raw(path)
    raise InputError(f"{path} is of unknown type {suffix!r}; expected .tif, .tiff, .dax or .raw.")


def _tiff(path: Path, axes: str | None, *, is_one_of_many: bool = False) -> Movie:
    """One file; pages are read one after the other, in the order of its axes."""
    with _open_tiff(path, is_one_of_many=is_one_of_many) as tiff:
        if len(tiff.series) != 1:
            shapes = ", ".join(str(series.shape) for series in tiff.series[:6])
            raise InputError(f"{path} holds {len(tiff.series)} images ({shapes}), expected one; save them one by one.")
        series = tiff.series[0]
        letters = axes or _letters(series.axes)
        shape = tuple(series.shape)
        if len(letters) != len(shape):
            raise InputError(f"{path} has shape {shape}, but axes {letters!r}; give one letter a dimension.")
        sizes = dict(zip(letters, shape, strict=True))
        if not letters.endswith("yx") or len(sizes) < len(letters) or not set(letters) <= set("tczyx"):
            raise InputError(
                f"{path} has shape {shape} and axes {series.axes if axes is None else axes!r}, expected grey frames "
                "with axes t, z in front of y, x; save it so."
            )
        if sizes.get("c", 1) > 1:
            raise InputError(
                f"{path} has {sizes['c']} channels, expected one; save the channels one by one, or if they are frames, "
                f"say so with --axes {letters.replace('c', 't') if 't' not in letters else letters.replace('c', 'z')}."
            )
        if "z" in letters and "t" in letters and letters.index("z") < letters.index("t") and sizes["t"] > 1:
            raise InputError(f"{path} has axes {letters!r}: planes are stored before times; save it as t, z, y, x.")
        dtype = np.dtype(series.dtype)
        planes = sizes.get("z", 1) if sizes.get("t", 1) > 1 or axes is not None else 1
        pixel_size, z_step_nm = _ome_scale(tiff)
    _check_type(path, dtype)
    frame_shape = (shape[-2], shape[-1])
    num_frames = int(np.prod(shape[:-2], dtype=np.int64))

    def read() -> Iterator[Frames]:
        with _open_tiff(path, is_one_of_many=is_one_of_many) as tiff:
            yield from _tiff_frames(path, tiff, num_frames, frame_shape, dtype)

    return Movie(num_frames, *frame_shape, dtype.newbyteorder("="), read, planes, pixel_size, z_step_nm)


def _tiff_frames(
    path: Path, tiff: "tifffile.TiffFile", num_frames: int, frame_shape: tuple[int, int], dtype: np.dtype[Any]
) -> Iterator[Frames]:
    series = tiff.series[0]
    step = max(1, BATCH_BYTES // (frame_shape[0] * frame_shape[1] * dtype.itemsize))
    if series.dataoffset is not None:  # one contiguous piece, also where it has a single page for many frames
        dtype = dtype.newbyteorder(tiff.byteorder)
        frame_bytes = frame_shape[0] * frame_shape[1] * dtype.itemsize
        for start in range(0, num_frames, step):
            count = min(step, num_frames - start)
            tiff.filehandle.seek(series.dataoffset + start * frame_bytes)
            data = tiff.filehandle.read(count * frame_bytes)
            if len(data) < count * frame_bytes:
                raise InputError(f"{path} is truncated: it ends within frames {start} to {start + count - 1}.")
            yield np.frombuffer(data, dtype).reshape(count, *frame_shape)
        return
    for index, page in enumerate(series.pages):
        try:
            image = None if page is None else page.asarray()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: page {index} cannot be decoded ({error}); restore the file.") from error
        if image is None:
            raise InputError(f"{path}: page {index} is missing, its metadata announce it; restore the file.")
        yield np.asarray(image).reshape(-1, *frame_shape)


def _tiff_series(path: str, files: list[str], axes: str | None) -> Movie:
    """Many files, one after the other."""
    movies = [_tiff(Path(file), axes, is_one_of_many=True) for file in files]
    first = movies[0]
    for file, movie in zip(files, movies, strict=True):
        if (movie.height, movie.width, movie.dtype) != (first.height, first.width, first.dtype):
            raise InputError(
                f"{file} has frames of {movie.height} x {movie.width} {movie.dtype}, {files[0]} of {first.height} x "
                f"{first.width} {first.dtype}; all files of {path} must be alike."
            )

    def read() -> Iterator[Frames]:
        for movie in movies:
            yield from movie.read()

    num_frames = sum(movie.num_frames for movie in movies)
    return Movie(num_frames, first.height, first.width, first.dtype, read, first.planes)


def _dax(path: Path) -> Movie:
    """Frames of 16-bit integers; the ``.inf`` beside it has their size and byte order."""
    inf = path.with_suffix(".inf")
    try:
        text = inf.read_text(errors="replace")
    except OSError as error:
        raise InputError(f"{inf} cannot be read ({error.strerror}); it has the frame size of {path.name}.") from error
    size = re.search(r"frame dimensions\s*=\s*(\d+)\s*x\s*(\d+)", text)
    order = re.search(r"(big|little) endian", text)
    if size is None or order is None:
        missing = "frame dimensions" if size is None else "byte order (big or little endian)"
        raise InputError(f"{inf} does not say the {missing} of {path.name}; add it.")
    width, height = int(size[1]), int(size[2])
    dtype = np.dtype(">u2" if order[1] == "big" else "<u2")
    announced = re.search(r"number of frames\s*=\s*(\d+)", text)
    return _flat_file(path, height, width, dtype, int(announced[1]) if announced else None, inf.name)


def _picasso_raw(path: Path) -> Movie:
    """Picasso: bare frames, described by a ``.yaml`` beside it."""
    description = path.with_suffix(".yaml")
    try:
        info = next(iter(yaml.safe_load_all(description.read_text())))
        height, width = int(info["Height"]), int(info["Width"])
        dtype = np.dtype(f"{info['Byte Order']}{np.dtype(info['Data Type']).str[1:]}")
        frames = int(info["Frames"])
        pixel_nm = info.get("Pixelsize") or info.get("Camera.Pixelsize")
    except OSError as error:
        raise InputError(
            f"{description} cannot be read ({error.strerror}); it has the frame size of {path.name}."
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise InputError(
            f"{description} does not describe {path.name} ({error}); expected Frames, Height, Width, Data Type and "
            "Byte Order."
        ) from error
    _check_type(path, dtype)
    pixel_size = PixelSize(x_nm=float(pixel_nm), y_nm=float(pixel_nm)) if pixel_nm else None
    return _flat_file(path, height, width, dtype, frames, description.name, pixel_size)


def _flat_file(
    path: Path,
    height: int,
    width: int,
    dtype: np.dtype[Any],
    announced: int | None,
    described_by: str,
    pixel_size: PixelSize | None = None,
) -> Movie:
    """Bare frames one after the other; the size of the file says how many."""
    frame_bytes = height * width * dtype.itemsize
    num_frames, rest = divmod(path.stat().st_size, frame_bytes)
    if num_frames == 0:
        raise InputError(f"{path} has {rest} bytes, fewer than one frame of {height} x {width} {dtype}.")
    notes = []
    if announced is not None and announced != num_frames:
        notes.append(f"{described_by} says {announced} frames, {path.name} holds {num_frames}; all of them are kept")
    if rest:
        notes.append(f"{path.name} ends with {rest} bytes that are no whole frame (of {frame_bytes} bytes)")

    def read() -> Iterator[Frames]:
        step = max(1, BATCH_BYTES // frame_bytes)
        with open(path, "rb") as file:
            for start in range(0, num_frames, step):
                count = min(step, num_frames - start)
                data = np.fromfile(file, dtype, count * height * width)
                yield data.reshape(count, height, width)

    return Movie(num_frames, height, width, dtype.newbyteorder("="), read, pixel_size=pixel_size, notes=tuple(notes))


def _open_tiff(path: Path, *, is_one_of_many: bool) -> "tifffile.TiffFile":
    """Open a file; of one of many the OME metadata are not followed, as they may name the frames of all."""
    try:
        import tifffile
    except ImportError as error:
        raise InputError(
            "TIFF files need the package tifffile, which is not installed; run: pip install lls-decode[convert]"
        ) from error
    try:
        return tifffile.TiffFile(path, is_ome=False, is_mmstack=False) if is_one_of_many else tifffile.TiffFile(path)
    except (tifffile.TiffFileError, OSError) as error:
        raise InputError(f"{path} cannot be read as TIFF ({error}); restore the file.") from error


def _letters(axes: str) -> str:
    """Letters of tifffile as ours: an axis of unknown meaning (I, Q: a sequence) is time."""
    letters = axes.lower()
    return letters if "t" in letters else letters.replace("i", "t").replace("q", "t")


def _ome_scale(tiff: "tifffile.TiffFile") -> tuple[PixelSize | None, float | None]:
    """Pixel size and z step of OME-XML with micrometer (its default) or nanometer units."""
    if not tiff.is_ome or not tiff.ome_metadata:
        return None, None
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", tiff.ome_metadata)
    if pixels is None:
        return None, None
    found: dict[str, float] = {}
    for axis in "XYZ":
        value = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', pixels[0])
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', pixels[0])
        factor = {"µm": 1e3, "um": 1e3, "&#181;m": 1e3, "nm": 1.0}.get(unit[1] if unit else "µm")
        if value and factor and float(value[1]) > 0 and float(value[1]) != 1.0:
            found[axis] = round(float(value[1]) * factor, 9)
    pixel_size = PixelSize(x_nm=found["X"], y_nm=found["Y"]) if {"X", "Y"} <= set(found) else None
    return pixel_size, found.get("Z")


def _check_type(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "uif":
        raise InputError(f"{path} has values of type {dtype}, expected integer or real camera counts.")
