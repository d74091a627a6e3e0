"""Writing of a movie into a new store: shards in parallel, each verified by reading it back, finished shards kept.

A shard is proven by the digest of its pixels, not of its file, so that the digest holds for any compression. When
source files were modified since, their pixels are compared with the stored ones; equal shards are kept.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from lls_decode.axes import Layout
from lls_decode.config import PixelSize
from lls_decode.errors import InputError, OutputError
from lls_decode.frames.parallel import in_parallel
from lls_decode.frames.storage.keys import ZarrArray
from lls_decode.frames.writing.checksums import (
    Manifest,
    Piece,
    Progress,
    Run,
    as_lines,
    begin_manifest,
    cut_pieces,
    digest_runs,
    manifest_path,
    open_level,
    read_manifest,
    read_piece,
    selection,
    write_manifest,
)
from lls_decode.frames.writing.create import create_store
from lls_decode.movies.movie import Movie
from lls_decode.system import locked_file
from lls_decode.table.files import SETTLE_S, remove_folder

logger = logging.getLogger(__name__)

MEMORY_BYTES = 2 << 30
"""Memory that all threads of a conversion may use together."""
_COPIES = 3
"""Number of copies of a shard in memory: as read, encoded, and read back."""


class Filling:
    """Conversion of a movie into a store that is first written at the temporary path ``aside``."""

    def __init__(
        self,
        movie: Movie,
        layout: Layout,
        aside: Path,
        *,
        name: str,
        pixel_size: PixelSize | None,
        z_step_nm: float | None,
        attributes: dict[str, Any],
    ) -> None:
        self.movie, self.layout, self.aside = movie, layout, aside
        self._name, self._pixel_size, self._z_step_nm = name, pixel_size, z_step_nm
        self._attributes = attributes
        self._header = {
            "version": 1,
            "converted_from": attributes["converted_from"],
            "movie": movie.identity(),
            "times": movie.times(),
            "volumes": layout.num_volumes,
            "planes": layout.planes_per_volume,
            "name": name,
            "pixel_size": pixel_size.to_dict() if pixel_size else None,
            "z_step_nm": z_step_nm,
        }

    def run(self, *, workers: int, anew: bool = False, progress: Progress | None = None) -> None:
        """Write all missing shards, and the manifest of all shards.

        Raises
        ------
        InputError
            The movie cannot be read completely; finished shards are kept for the next call.
        OutputError
            Another conversion is running, shards of another conversion exist, or a shard differs when read back.
        """
        with _locked(self.aside.with_suffix(".lock")):
            try:
                array = self._open(anew=anew)
                pieces = list(cut_pieces(self.layout, array.shards or array.chunks))
                workers = max(1, min(workers, MEMORY_BYTES // (_COPIES * _piece_bytes(array, pieces))))
                finished = self._keep_finished(array, pieces, workers)
                self._write(array, pieces, finished, workers, progress)
                write_manifest(self.aside, self._header, (run for runs in finished.values() for run in runs))
            finally:
                self._remove_if_empty()

    def _open(self, *, anew: bool) -> ZarrArray:
        """Open the array of an interrupted conversion of the same movie, or create a new array."""
        left = None if anew else self._left()
        if left is None:
            shutil.rmtree(self.aside, ignore_errors=True)
            array = create_store(
                self.aside,
                self.layout,
                dtype=str(self.movie.dtype),
                pixel_size=self._pixel_size,
                z_step_nm=self._z_step_nm,
                angle_deg=_angle_deg(self.movie),
                name=self._name,
                attributes={"lls_decode": self._attributes},
            )
            begin_manifest(self.aside, self._header)
            return array
        if {**left.header, "times": None} != {**self._header, "times": None}:
            raise OutputError(
                f"{self.aside} holds shards of another conversion, or of files that have changed since; delete it, or "
                "start again with overwrite (--overwrite)."
            )
        with zarr.config.set({"array.write_empty_chunks": True}):
            return open_level(self.aside, "a")

    def _keep_finished(self, array: ZarrArray, pieces: list[Piece], workers: int) -> dict[Piece, list[Run]]:
        """Return the finished shards whose pixels match their recorded digests.

        If files of the movie were modified since, the pixels of the movie must match the digests, too.
        """
        left = read_manifest(self.aside)
        assert left is not None
        noted = {run.first: run for run in left.runs}
        planes = self.layout.planes_per_volume
        done = {piece: runs for piece in pieces if (runs := _runs_of(piece, noted))}
        touched = left.header["times"] != self._header["times"]

        def is_sound(piece: Piece) -> bool:
            try:
                stored = digest_runs(read_piece(array, piece, planes), piece.start, planes)
            except Exception:  # zarr raises many kinds of errors for a damaged chunk
                return False
            if stored == done[piece] and touched:
                return stored == digest_runs(self.movie.read(*piece), piece.start, planes)
            return stored == done[piece]

        kept = {piece: done[piece] for piece, sound in in_parallel(is_sound, done, workers) if sound}
        if done:
            logger.info("%s: %d of %d shards are already finished", self.aside.name, len(kept), len(pieces))
        if len(kept) < len(done):
            logger.warning("%d shards or their files have changed; they are converted again", len(done) - len(kept))
        return kept

    def _write(
        self,
        array: ZarrArray,
        pieces: list[Piece],
        finished: dict[Piece, list[Run]],
        workers: int,
        progress: Progress | None,
    ) -> None:
        """Write the remaining shards; each is recorded in the manifest as soon as it is verified."""
        done = sum(piece.stop - piece.start for piece in finished)
        todo = [piece for piece in pieces if piece not in finished]
        with open(manifest_path(self.aside), "a", encoding="utf-8") as manifest:
            for piece, runs in in_parallel(lambda piece: self._write_piece(array, piece), todo, workers):
                finished[piece] = runs
                manifest.write(as_lines(runs))
                manifest.flush()
                done += piece.stop - piece.start
                if progress:
                    progress(done, self.layout.num_frames)

    def _write_piece(self, array: ZarrArray, piece: Piece) -> list[Run]:
        """Copy one shard, and verify that the stored pixels are those that were read."""
        planes = self.layout.planes_per_volume
        frames = self.movie.read(*piece)
        if frames.shape != (piece.stop - piece.start, self.layout.height, self.layout.width):
            raise InputError(
                f"frames {piece.start} to {piece.stop - 1} of {self._header['converted_from']} have the shape "
                f"{frames.shape}, expected {(piece.stop - piece.start, self.layout.height, self.layout.width)}; check "
                "whether the files have changed."
            )
        wanted = digest_runs(frames, piece.start, planes)
        place = selection(piece, planes)
        array[place] = frames.astype(self.movie.dtype, copy=False).reshape(_shape(piece, array, place))
        del frames
        if digest_runs(read_piece(array, piece, planes), piece.start, planes) != wanted:
            raise OutputError(
                f"{self.aside}: frames {piece.start} to {piece.stop - 1} differ when read back; check the disk and run "
                "the conversion again."
            )
        return wanted

    def _remove_if_empty(self) -> None:
        """Remove the temporary store if it has no finished shard."""
        left = self._left()
        if left is None or not left.runs:
            remove_folder(self.aside, settle_s=SETTLE_S)

    def _left(self) -> Manifest | None:
        """Return the manifest of an earlier call; None if there is no valid manifest."""
        try:
            return read_manifest(self.aside)
        except InputError:
            return None


def _angle_deg(movie: Movie) -> float | None:
    """Return the scan angle of the movie; None if it is unknown or the objective moves along z."""
    geometry = movie.geometry
    return geometry.angle_deg if geometry is not None and geometry.motion == "stage" else movie.angle_deg


def _runs_of(piece: Piece, noted: dict[int, Run]) -> list[Run]:
    """Return the recorded digests of a piece; an empty list unless they cover all of it."""
    runs, at = [], piece.start
    while at < piece.stop:
        run = noted.get(at)
        if run is None:
            return []
        runs.append(run)
        at = run.last + 1
    return runs


def _piece_bytes(array: ZarrArray, pieces: list[Piece]) -> int:
    frame_bytes = int(np.prod(array.shape[-2:])) * array.dtype.itemsize
    return max(piece.stop - piece.start for piece in pieces) * frame_bytes


def _shape(piece: Piece, array: ZarrArray, place: tuple[object, ...]) -> tuple[int, ...]:
    """Return the shape of the frames of a piece in the axes of the array."""
    if array.ndim == 4 and isinstance(place[0], slice):
        return (-1, *array.shape[1:])
    return (piece.stop - piece.start, *array.shape[-2:])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Prevent other conversions to the same path; the operating system releases the lock when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_file(path))
        except BlockingIOError as error:
            raise OutputError(f"{path} is locked by another conversion to the same path; wait for its end.") from error
        yield
