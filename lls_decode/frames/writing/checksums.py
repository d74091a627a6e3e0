"""Checksums of stored frames, to resume a conversion and to verify later that no frame has changed.

``STORE/checksums/manifest.jsonl`` has one line of JSON that describes the conversion, then one line per run of
consecutive frames: the frames of one volume in one shard, or all frames of a shard if volumes have one plane. The
manifest is written during the conversion, so that an interrupted conversion can be resumed from it. The digest is
SHA-256 of the pixels, little-endian, row by row, and does not depend on chunks or compression.

Shape letters: ``n`` consecutive frames, ``Y X`` pixels.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import zarr

from lls_decode.addresses import resolve_dataset
from lls_decode.axes import Layout
from lls_decode.config import StorageConfig
from lls_decode.documents import parse_json
from lls_decode.errors import InputError, StorageError
from lls_decode.frames.parallel import in_parallel
from lls_decode.frames.storage.codecs import open_array
from lls_decode.frames.storage.keys import ZarrArray
from lls_decode.frames.storage.opening import open_keys
from lls_decode.system import replace

Frames = npt.NDArray[Any]

GROUP = "checksums"
_MANIFEST = "manifest.jsonl"
_ABOUT = "SHA-256 of the pixels of frames first to last, little-endian, row after row; written by lls-decode convert"


Progress = Callable[[int, int], None]


class Run(NamedTuple):
    """Consecutive frames with one digest."""

    first: int
    last: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Checksums of a store."""

    path: str | Path
    header: dict[str, Any]
    runs: tuple[Run, ...]


def verify_store(
    path: str | Path, *, storage: StorageConfig | None = None, workers: int = 4, progress: Progress | None = None
) -> tuple[Run, ...]:
    """Compare all frames of a converted store, at a path or an address, with its stored checksums.

    Returns
    -------
    tuple of Run
        Frames that are lost or changed; empty if all frames are intact.

    Raises
    ------
    InputError
        The store has no checksums.
    """
    keys = open_keys(resolve_dataset(path), storage)
    try:
        text = keys.read(f"{GROUP}/{_MANIFEST}").decode()
    except (FileNotFoundError, KeyError):
        raise InputError(
            f"{path} has no checksums, so it cannot be verified; give a store written by 'lls-decode convert'."
        ) from None
    manifest = _parse_manifest(text, f"{keys.name}/{GROUP}/{_MANIFEST}")
    array = open_array(keys.open_store(), "0")
    planes = int(manifest.header["planes"])

    def is_sound(run: Run) -> bool:
        piece = Piece(run.first, run.last + 1)
        try:
            return digest_runs(read_piece(array, piece, planes), run.first, planes) == [run]
        except StorageError:
            raise
        except Exception:  # zarr raises many kinds of errors for a damaged chunk
            return False

    bad, done, total = [], 0, sum(run.last + 1 - run.first for run in manifest.runs)
    for run, sound in in_parallel(is_sound, manifest.runs, workers):
        done += run.last + 1 - run.first
        if not sound:
            bad.append(run)
        if progress:
            progress(done, total)
    return tuple(sorted(bad))


def manifest_path(store: Path) -> Path:
    """Return the path of the checksums of a store."""
    return store / GROUP / _MANIFEST


def open_level(store: Path, mode: Literal["r", "a"]) -> ZarrArray:
    """Open the array of a store made by `create_store`."""
    array = zarr.open_group(store, mode=mode)["0"]
    assert isinstance(array, zarr.Array)
    return array


def begin_manifest(store: Path, header: dict[str, Any]) -> None:
    """Start an empty manifest in a folder that is a zarr group, so that other programs can still read the store."""
    zarr.open_group(store, mode="a").create_group(GROUP, attributes={"about": _ABOUT})
    manifest_path(store).write_text(json.dumps(header) + "\n", encoding="utf-8")


def read_manifest(store: Path) -> Manifest | None:
    """Read the checksums of a store; None if it has none. An incomplete last line is ignored."""
    path = manifest_path(store)
    try:
        return _parse_manifest(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        return None


def _parse_manifest(text: str, path: str | Path) -> Manifest:
    lines = text.split("\n")
    try:
        header, *records = [parse_json(line) for line in lines[:-1]]
        runs = [Run(int(record["first"]), int(record["last"]), str(record["sha256"])) for record in records]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); convert the data again.") from error
    return Manifest(path, header, tuple(runs))


def write_manifest(store: Path, header: dict[str, Any], runs: Iterable[Run]) -> None:
    """Replace the manifest by a complete one, in the order of frames."""
    path = manifest_path(store)
    whole = path.with_suffix(".new")
    whole.write_text(json.dumps(header) + "\n" + as_lines(sorted(runs)), encoding="utf-8")
    replace(whole, path)


def as_lines(runs: Iterable[Run]) -> str:
    """Format runs of frames as lines of the manifest."""
    return "".join(json.dumps(run._asdict()) + "\n" for run in runs)


def digest_runs(frames_nYX: Frames, first: int, planes: int) -> list[Run]:
    """Compute the digests of consecutive frames, divided at the ends of volumes unless volumes have one plane."""
    starts = [0]
    if planes > 1:
        starts += range(planes - first % planes, len(frames_nYX), planes)
    stops = [*starts[1:], len(frames_nYX)]
    return [Run(first + a, first + b - 1, _digest(frames_nYX[a:b])) for a, b in zip(starts, stops, strict=True)]


def _digest(frames_nYX: Frames) -> str:
    little = np.ascontiguousarray(frames_nYX, dtype=frames_nYX.dtype.newbyteorder("<"))
    return hashlib.sha256(little.data).hexdigest()


class Piece(NamedTuple):
    """Frames that are written at once: those of one shard (without shards: one chunk)."""

    start: int
    stop: int


def cut_pieces(layout: Layout, shard: tuple[int, ...]) -> Iterator[Piece]:
    """Divide the frames of a store into its shards, in order."""
    planes = layout.planes_per_volume
    if planes == 1 or shard[1] >= planes:
        size = shard[0] * planes
        yield from (Piece(f, min(f + size, layout.num_frames)) for f in range(0, layout.num_frames, size))
        return
    for volume in range(layout.num_volumes):
        for plane in range(0, planes, shard[1]):
            yield Piece(volume * planes + plane, volume * planes + min(plane + shard[1], planes))


def selection(piece: Piece, planes: int) -> tuple[Any, ...]:
    """Return the indices of a piece in the stored array."""
    if planes == 1:
        return (slice(piece.start, piece.stop),)
    volume, plane = divmod(piece.start, planes)
    if plane or piece.stop - piece.start < planes:
        return volume, slice(plane, plane + piece.stop - piece.start)
    return (slice(volume, piece.stop // planes),)


def read_piece(array: ZarrArray, piece: Piece, planes: int) -> Frames:
    """Read the stored frames of a piece, ``(n, Y, X)``."""
    stored = np.asarray(array[selection(piece, planes)])
    return stored.reshape(-1, *stored.shape[-2:])
