"""Opening of TIFF files as one movie: a single file, an OME set, or a series of named files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Loss, keep, ranges, settle
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.tiff.decoding import Shelf, decode, read_frames
from lls_decode.movies.formats.tiff.files import Stored
from lls_decode.movies.formats.tiff.members import Member, survey
from lls_decode.movies.formats.tiff.pages import Ints
from lls_decode.movies.movie import Movie, digest_places
from lls_decode.movies.series import Series, check_single_planes
from lls_decode.naming.choices import name_some
from lls_decode.naming.names import is_lls, names_of

SURVEY_ALL = 2000
"""Largest series of which all files are examined in advance. In longer series, one file of each size is examined; the
others are assumed to be alike, and checked when they are read."""


def open_tiff(path: Path, choices: Choices) -> Movie:
    """Open one file, or the whole OME set if the file belongs to one."""
    return movie_of([survey(path, choices)], choices, path)


def open_tiff_series(series: Series, choices: Choices) -> Movie:
    """Open the files of a series as one movie."""
    paths = series.files
    known: dict[int, Member] = {}
    members = []
    for path in paths:
        size = path.stat().st_size
        if size not in known or len(paths) <= SURVEY_ALL or choices.salvage:
            known[size] = survey(path, choices, is_one_of_many=True)
            members.append(known[size])
        else:
            members.append(_like(known[size], path))
    return movie_of(members, choices, series.where, series)


def _like(member: Member, path: Path) -> Member:
    """Return a member for a file that is assumed to be like another of the same size until it is read."""
    return replace(member, files=tuple(replace(file, path=path, is_assumed=True) for file in member.files))


def movie_of(members: Sequence[Member], choices: Choices, where: object, series: Series | None = None) -> Movie:
    """Join members to a movie of the frames that are kept, and handle missing frames."""
    _check_members(members, where)
    _check_sizes(members, where)
    if series is not None and series.planes > 1:
        check_single_planes(where, series, [len(member.lost) for member in members])
    members, short = _whole_members(members, choices, where)
    losses = [*(series.losses if series else ()), *short]
    losses += settle([account for member in members for account in member.accounts], choices)
    files = [file for member in members for file in member.files]
    offsets = np.cumsum([0, *(len(member.files) for member in members)])
    file_of = np.concatenate([member.file_of + offset for member, offset in zip(members, offsets, strict=False)])
    page_of = np.concatenate([member.page_of for member in members])
    lost = np.concatenate([member.lost for member in members])
    shelf = Shelf()
    if choices.salvage:
        losses += _mark_undecodable(files, file_of, page_of, lost, shelf)
    planes = series.planes if series and series.planes > 1 else members[0].planes
    kept = keep(lost, planes, choices)
    unequal = len({len(member.lost) for member in members[:-1]}) > 1 or len(members[-1].lost) > len(members[0].lost)
    if planes > 1 and unequal:
        kept = replace(kept, planes=1, is_closed_up=True)
    file_of, page_of = file_of[kept.numbers], page_of[kept.numbers]
    layout = members[0].layout

    def read(start: int, stop: int) -> Frames:
        pieces = []
        while start < stop:
            number = int(file_of[start])
            end = start + int(np.argmax(np.append(file_of[start:stop] != number, True)))
            pieces.append(read_frames(_verified(files[number], choices), page_of[start:end], shelf))
            start = end
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    sizes = [member for member in members if member.pixel_size] or [members[0]]
    notes = dict.fromkeys([*(note for member in members for note in member.notes), *kept.notes])
    height, width = layout.shape
    return Movie(
        len(file_of),
        height,
        width,
        layout.dtype,
        read,
        tuple(file.path for file in files if len(file)),
        kept.planes,
        sizes[0].pixel_size,
        next((member.z_step_nm for member in members if member.z_step_nm), None) if planes > 1 else None,
        lengths=tuple(len(member.lost) for member in members),
        notes=(*(series.notes if series else ()), *notes),
        losses=tuple(losses),
        is_closed_up=kept.is_closed_up or bool(series and series.losses),
        told=_told(members, [file for file in files if len(file)], kept.planes, len(file_of)),
        content=digest_places(file_of, page_of),
    )


def _verified(file: Stored, choices: Choices) -> Stored:
    """Examine a file that was only assumed to be like another; raise an error if it differs."""
    if not file.is_assumed:
        return file
    member = survey(file.path, choices, is_one_of_many=True)
    settle(member.accounts, choices)
    real, found = member.files[0], member.layout
    wanted = file.layouts[file.layout_of[0]]
    if (wanted.alike, len(file)) != (found.alike, len(real)):
        raise InputError(
            f"{file.path} has {len(real)} frames of shape {found.shape} and type {found.dtype}, expected "
            f"{len(file)} of {wanted.shape} and {wanted.dtype}; all files of a series must be alike."
        )
    return real


def _check_members(members: Sequence[Member], where: object) -> None:
    """Raise an error if files differ in frame size or data type."""
    wanted = members[0].layout
    for member in members:
        found = member.layout
        if found.alike != wanted.alike:
            raise InputError(
                f"{member.first.path} has frames of shape {found.shape} and type {found.dtype}, but "
                f"{members[0].first.path} has {wanted.shape} and {wanted.dtype}; all files of {where} must be alike: "
                "exclude files that do not belong to the movie with --pattern."
            )


def _check_sizes(members: Sequence[Member], where: object) -> None:
    """Raise an error if files state different pixel sizes, because they are from different acquisitions."""
    told = {member.pixel_size: member for member in members if member.pixel_size}
    if len(told) > 1:
        listed = [f"{m.first.path.name} {s.x_nm:g} x {s.y_nm:g} nm" for s, m in told.items()]
        raise InputError(
            f"{where} has files with different pixel sizes: {name_some(listed)}; choose the files of one movie with "
            "--pattern."
        )


def _whole_members(members: Sequence[Member], choices: Choices, where: object) -> tuple[Sequence[Member], list[Loss]]:
    """Handle members whose length differs from that of most: an error, unless the user accepts losses."""
    lengths = [len(member.lost) for member in members]
    usual = Counter(lengths).most_common(1)[0][0]
    is_volume = members[0].planes > 1 or any(member.planes > 1 for member in members)
    odd = [m for m in members if len(m.lost) != usual]
    if not is_volume and odd and odd == [members[-1]] and lengths[-1] < usual:
        return members, []  # the last part of a movie
    if not odd or len(members) == 1:
        return members, []
    what = "planes" if is_volume else "frames"
    losses = [
        Loss(m.first.path.name, f"{len(m.lost)} of {usual} {what}", "its length differs from that of the other files")
        for m in odd
    ]
    is_stopped = odd == [members[-1]] and lengths[-1] < usual and is_lls(members[-1].first.path.name)
    if is_stopped and not choices.allow_gaps:
        return members, losses  # the acquisition was stopped during the last stack
    if not choices.allow_gaps and not choices.salvage:
        like = next(member for member in members if len(member.lost) == usual)
        listed = name_some([f"{member.first.path.name} has {len(member.lost)} {what}" for member in odd])
        advice = (
            "keep only the complete volumes with --allow-gaps or all complete frames with --salvage"
            if is_volume
            else "accept all files as they are with --allow-gaps"
        )
        raise InputError(
            f"{where}: {listed}, but {like.first.path.name} has {usual}; all must be alike: restore the missing "
            f"frames, exclude files with --pattern, or {advice}."
        )
    if choices.allow_gaps and is_volume:
        return [member for member in members if len(member.lost) == usual], losses
    return members, losses


def _mark_undecodable(
    files: Sequence[Stored], file_of: Ints, page_of: Ints, lost: npt.NDArray[np.bool_], shelf: Shelf
) -> list[Loss]:
    """Mark compressed frames that cannot be decoded as lost; uncompressed frames need no check."""
    losses = []
    for number, file in enumerate(files):
        if not any(not layout.is_plain for layout in file.layouts):
            continue
        found, why = [], ""
        for index in np.flatnonzero((file_of == number) & ~lost):
            try:
                decode(file, int(page_of[index]), shelf)
            except InputError as error:
                found.append(int(page_of[index]))
                lost[index], why = True, why or str(error)
        if found:
            losses.append(Loss(file.path.name, f"frames {ranges(found)}", why))
    return losses


def _told(members: Sequence[Member], files: Sequence[Stored], planes: int, frames: int) -> str:
    """Summarise the files, their order and their layout."""
    paths = names_of([str(file.path) for file in files])
    names = paths[0] if len(paths) == 1 else f"{paths[0]} to {paths[-1]}"
    lengths = Counter(len(member.lost) for member in members)
    if planes > 1:
        volumes, rest = divmod(frames, planes)
        what = f"volumes of {planes} planes" if volumes > 1 or len(files) > 1 else f"one volume of {planes} planes"
        what += f" and {rest} more frames" if rest else ""
    elif len(members) == 1 or set(lengths) == {1}:
        what = f"{frames} frame{'' if frames == 1 else 's'}"
    else:
        what = "parts of one movie of " + ", ".join(f"{n} frames ({count} files)" for n, count in lengths.items())
    return f"{len(paths)} file{'s' if len(paths) > 1 else ''}, {names}, as {what}"
