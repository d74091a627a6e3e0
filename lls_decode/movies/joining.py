"""Joining of the files of a series into one movie, for all formats in which each file is a movie by itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.movie import Movie
from lls_decode.movies.series import Series, check_single_planes
from lls_decode.naming.choices import name_some
from lls_decode.naming.names import names_of


def join(series: Series, movies: Sequence[Movie]) -> Movie:
    """Join the movies of a series, which must have the same size; without planes, the last file may be shorter.

    Raises
    ------
    InputError
        Files differ in frame size, data type, number of frames or pixel size.
    """
    first = movies[0]
    if len(movies) == 1:
        return replace(first, losses=(*series.losses, *first.losses), notes=(*series.notes, *first.notes))
    _check_alike(series, movies)
    lengths = [movie.num_frames for movie in movies]
    if series.planes > 1:
        check_single_planes(series.where, series, lengths)
    ends = np.cumsum(lengths)

    def read(start: int, stop: int) -> Frames:
        pieces = []
        while start < stop:
            number = int(np.searchsorted(ends, start, side="right"))
            begin, end = int(ends[number]) - lengths[number], min(stop, int(ends[number]))
            pieces.append(movies[number].read(start - begin, end - begin))
            start = end
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    names = names_of([str(path) for path in series.files])
    planes = series.planes if series.planes > 1 else first.planes
    what = f"volumes of {planes} planes" if planes > 1 else f"{int(ends[-1])} frames"
    return replace(
        first,
        num_frames=int(ends[-1]),
        read=read,
        files=tuple(dict.fromkeys(path for movie in movies for path in movie.files)),
        planes=planes,
        lengths=tuple(lengths),
        notes=(*series.notes, *dict.fromkeys(note for movie in movies for note in movie.notes)),
        told=f"{len(movies)} files, {names[0]} to {names[-1]}, as {what}",
        losses=(*series.losses, *(loss for movie in movies for loss in movie.losses)),
        content=" ".join(movie.content for movie in movies),
        is_closed_up=bool(series.losses) or any(movie.is_closed_up or movie.losses for movie in movies[:-1]),
    )


def _check_alike(series: Series, movies: Sequence[Movie]) -> None:
    first = movies[0]
    for path, movie in zip(series.files, movies, strict=True):
        if (movie.height, movie.width, movie.dtype) != (first.height, first.width, first.dtype):
            raise InputError(
                f"{path} has frames of {movie.height} x {movie.width} {movie.dtype}, but {series.files[0].name} has "
                f"{first.height} x {first.width} {first.dtype}; all files of {series.where} must be alike: exclude "
                "files that do not belong to the movie with --pattern."
            )
        if movie.pixel_size != first.pixel_size:
            raise InputError(
                f"{path} and {series.files[0].name} state different pixel sizes; choose the files of one movie with "
                "--pattern."
            )
    per_volume = series.planes > 1 or first.planes > 1
    usual = 1 if series.planes > 1 else first.num_frames
    odd = [(path, movie) for path, movie in zip(series.files, movies, strict=True) if movie.num_frames != usual]
    odd += [(p, m) for p, m in zip(series.files, movies, strict=True) if m.planes != first.planes and (p, m) not in odd]
    is_last = len(odd) == 1 and odd[0][1] is movies[-1] and movies[-1].num_frames < usual and not per_volume
    if any(movie.losses for movie in movies) or series.losses:
        return  # the user accepted losses, and they are recorded
    if odd and not is_last:
        listed = name_some([_length(path, movie) for path, movie in odd])
        raise InputError(
            f"{series.where}: {listed}, expected {usual} as in {series.files[0].name}; exclude files that do not "
            "belong to the movie with --pattern, or convert the files one by one."
        )


def _length(path: Path, movie: Movie) -> str:
    volumes = f" in volumes of {movie.planes}" if movie.planes > 1 else ""
    return f"{path.name} has {movie.num_frames} frames{volumes}"
