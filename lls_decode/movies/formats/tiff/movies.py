"""TIFF files, one, a set of OME-XML, or a series by their names, as one movie."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies.accounting import Account, Loss, keep, ranges, settle
from lls_decode.movies.axes import in_order
from lls_decode.movies.choices import Choices, name_some, pick
from lls_decode.movies.formats.tiff.decoding import Shelf, decode, read_frames
from lls_decode.movies.formats.tiff.descriptions import Description, describe, text_of
from lls_decode.movies.formats.tiff.files import Image, Stored, account_for, images_of
from lls_decode.movies.formats.tiff.ome import DamagedXmlError, OmeSet, is_ome, read_ome
from lls_decode.movies.formats.tiff.pages import Ints, Pages, read_pages
from lls_decode.movies.movie import Frames, Movie, check_type
from lls_decode.movies.names import is_lls
from lls_decode.movies.series import Series

SURVEY_ALL = 2000
"""Files of a series that are all looked at before the first frame is read; of more, only one of each size. The others
are compared with it when they are read."""


@dataclass(frozen=True)
class Member:
    """Frames of one channel and position, from one file or the files of one set, in the order of time and plane."""

    files: tuple[Stored, ...]
    file_of: Ints
    page_of: Ints
    lost: npt.NDArray[np.bool_]
    planes: int
    """Planes of a volume."""
    accounts: tuple[Account, ...]
    pixel_size: PixelSize | None
    z_step_nm: float | None
    notes: tuple[str, ...]

    @property
    def first(self) -> Stored:
        """A file that has frames."""
        return next(file for file in self.files if len(file))


def open_tiff(path: Path, choices: Choices) -> Movie:
    """Open one file; a file of an OME set means the set."""
    return movie_of([survey(path, choices)], choices, path)


def open_tiff_series(series: Series, choices: Choices) -> Movie:
    """Open files one after the other, in the order of a series."""
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


def members_named_by(path: Path) -> tuple[str, ...]:
    """Return the names of all files of the OME set that a file belongs to; empty when it is no OME-TIFF."""
    pages = read_pages(path)
    text = text_of(pages) if len(pages) else ""
    try:
        return read_ome(text, path).files if is_ome(text) else ()
    except DamagedXmlError:
        return ()


def survey(path: Path, choices: Choices, *, is_one_of_many: bool = False) -> Member:
    """Find out what a file holds, and choose one image, channel and position of it."""
    pages = read_pages(path)
    if len(pages) == 0:
        raise InputError(f"{path} has not one whole page: {pages.ending}; restore the file.")
    text = text_of(pages)
    found = Description("its list of pages") if is_ome(text) else describe(pages)
    if choices.axes is None and is_ome(text):
        try:
            return _survey_set(path, pages, read_ome(text, path), choices)
        except DamagedXmlError as error:
            found = Description("its list of pages", problem=str(error))
    stored, account = account_for(path, pages, found)
    images = images_of(stored, pages, found)
    image = images[pick([image.name for image in images], choices.position if len(images) > 1 else None, "position",
                        _with_shapes(path, images, stored))]  # fmt: skip
    return _member(image, (stored,), (account,) if account else (), choices, path)


def _with_shapes(path: Path, images: Sequence[Image], stored: Stored) -> str:
    if len(images) == 1:
        return str(path)
    shapes = [f"{i.page_of.shape} of {' x '.join(map(str, _shape(i, stored)))} pixels" for i in images]
    return f"{path}, which holds {len(images)} images ({name_some(shapes)}),"


def _shape(image: Image, stored: Stored) -> tuple[int, int]:
    number = int(image.page_of.ravel()[0])
    return stored.layouts[stored.layout_of[number]].shape if 0 <= number < len(stored) else (0, 0)


def _survey_set(path: Path, pages: Pages, ome: OmeSet, choices: Choices) -> Member:
    names = [image.name for image in ome.images]
    if len(set(names)) < len(names):
        names = [f"{name}-{i}" for i, name in enumerate(names)]
    chosen = ome.images[pick(names, choices.position if len(names) > 1 else None, "position", path)]
    files: list[Stored] = []
    accounts: list[Account] = []
    for number, name in enumerate(ome.files):
        place = path.with_name(name)
        numbers = [image.page_of[image.file_of == number] for image in ome.images]
        announced = max((int(n.max()) + 1 for n in numbers if n.size), default=0)
        if not (chosen.file_of == number).any():
            files.append(_nothing(place))  # of another position
            continue
        if not place.is_file():
            files.append(_nothing(place))
            why = f"a file of the OME set of {path.name} is missing"
            accounts.append(Account(place, announced, 0, why, tuple(range(announced)), is_gap=True))
            continue
        known = pages if place == path else read_pages(place)
        stored, account = account_for(place, known, Description("its OME-XML", ("",), (announced,)))
        files.append(stored)
        accounts += [account] if account else []
    unnamed = np.flatnonzero(chosen.file_of.ravel() < 0)
    if len(unnamed):
        why = f"its OME-XML says of {len(unnamed)} frames not where they lie"
        accounts.append(
            Account(path, chosen.file_of.size, chosen.file_of.size - len(unnamed), why, tuple(unnamed.tolist()))
        )
    image = Image(
        chosen.name, ("t", "z", "c"), chosen.file_of, chosen.page_of, chosen.channels, chosen.pixel_size,
        chosen.z_step_nm, chosen.notes,
    )  # fmt: skip
    if chosen.pixel_size is None:
        other = describe(pages)
        image = replace(image, pixel_size=other.pixel_size, z_step_nm=image.z_step_nm or other.z_step_nm)
    return _member(image, tuple(files), tuple(accounts), choices, path)


def _nothing(path: Path) -> Stored:
    """A file without a frame."""
    none = np.zeros(0, np.int64)
    return Stored(path, 0, "<", (), none, none, none, np.zeros(0, bool))


def _member(
    image: Image, files: tuple[Stored, ...], accounts: tuple[Account, ...], choices: Choices, path: Path
) -> Member:
    """Frames of an image in the order of time and plane, each whole or lost."""
    order = in_order(image.page_of.shape, image.axes, choices, path, image.channels)
    index = order.index.ravel()
    file_of, page_of = image.file_of.ravel()[index], image.page_of.ravel()[index]
    lost = np.ones(len(index), bool)
    for number, file in enumerate(files):
        here = (file_of == number) & (page_of < len(file))
        lost[here] = ~file.whole[page_of[here]]
        _check_alike(path, file, page_of[here])
    if lost.all():
        problem = "; ".join(account.describe() for account in accounts)
        raise InputError(f"{path} has not one whole frame: {problem}; restore the file.")
    return Member(
        files, file_of, page_of, lost, order.index.shape[1] if order.is_volume else 1, accounts, image.pixel_size,
        image.z_step_nm, image.notes,
    )  # fmt: skip


def _check_alike(path: Path, file: Stored, numbers: Ints) -> None:
    """Refuse frames that are no grey images of one size."""
    layouts = [file.layouts[i] for i in np.unique(file.layout_of[numbers])]
    for layout in layouts:
        if layout.samples > 1:
            raise InputError(f"{file.path} has pages of {layout.samples} colours, expected grey frames; save it so.")
        check_type(file.path, layout.dtype)
        if layout.alike != layouts[0].alike:
            raise InputError(f"{path} has pages of {layouts[0].alike[:2]} and {layout.alike[:2]}; all must be alike.")


def _like(member: Member, path: Path) -> Member:
    """A file that is taken for another of its size, until it is read."""
    return replace(member, files=tuple(replace(file, path=path, is_assumed=True) for file in member.files))


def movie_of(members: Sequence[Member], choices: Choices, where: object, series: Series | None = None) -> Movie:
    """Join members, settle what is missing, and give the frames that are kept."""
    _check_members(members, where)
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
    first = members[0].first
    layout = first.layouts[first.layout_of[0]]

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
    )


def _verified(file: Stored, choices: Choices) -> Stored:
    """A file as it really is, where only one of its size was looked at before."""
    if not file.is_assumed:
        return file
    member = survey(file.path, choices, is_one_of_many=True)
    settle(member.accounts, choices)
    real = member.files[0]
    wanted, found = file.layouts[file.layout_of[0]], real.layouts[real.layout_of[0]]
    if (wanted.alike, len(file)) != (found.alike, len(real)):
        raise InputError(
            f"{file.path} has {len(real)} frames of shape {found.shape} and type {found.dtype}, expected "
            f"{len(file)} of {wanted.shape} and {wanted.dtype}; all files of a series must be alike."
        )
    return real


def _check_members(members: Sequence[Member], where: object) -> None:
    first = members[0].first
    wanted = first.layouts[first.layout_of[0]]
    for member in members:
        for file in member.files:
            for layout in file.layouts:
                if layout.alike != wanted.alike and not layout.is_aside:
                    raise InputError(
                        f"{file.path} has frames of shape {layout.shape} and type {layout.dtype}, {first.path} of "
                        f"{wanted.shape} and {wanted.dtype}; all files of {where} must be alike: leave out what does "
                        "not belong with --pattern."
                    )


def _whole_members(members: Sequence[Member], choices: Choices, where: object) -> tuple[Sequence[Member], list[Loss]]:
    """Refuse members of another length than most; leave them out, or take them, where that was allowed."""
    lengths = [len(member.lost) for member in members]
    usual = Counter(lengths).most_common(1)[0][0]
    is_volume = members[0].planes > 1 or any(member.planes > 1 for member in members)
    odd = [m for m in members if len(m.lost) != usual]
    if not is_volume and odd and odd == [members[-1]] and lengths[-1] < usual:
        return members, []  # the last part of a movie
    if not odd or len(members) == 1:
        return members, []
    what = "planes" if is_volume else "frames"
    losses = [Loss(m.first.path.name, f"{len(m.lost)} of {usual} {what}", "a file of another length") for m in odd]
    is_stopped = odd == [members[-1]] and lengths[-1] < usual and is_lls(members[-1].first.path)
    if is_stopped and not choices.allow_gaps:
        return members, losses  # this software writes stack after stack: the acquisition was stopped in the last
    if not choices.allow_gaps and not choices.salvage:
        like = next(member for member in members if len(member.lost) == usual)
        listed = name_some([f"{member.first.path.name} has {len(member.lost)} {what}" for member in odd])
        advice = (
            "keep the whole volumes with --allow-gaps, all whole frames with --salvage"
            if is_volume
            else "take all of them as they are with --allow-gaps"
        )
        raise InputError(
            f"{where}: {listed}, {like.first.path.name} has {usual}; all must be alike: restore what is missing, leave "
            f"files out with --pattern, or {advice}."
        )
    if choices.allow_gaps and is_volume:
        return [member for member in members if len(member.lost) == usual], losses
    return members, losses


def _mark_undecodable(
    files: Sequence[Stored], file_of: Ints, page_of: Ints, lost: npt.NDArray[np.bool_], shelf: Shelf
) -> list[Loss]:
    """Mark compressed frames that cannot be decoded as lost; plain ones are judged by their place alone."""
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
    """Which files, in which order, as what."""
    paths = [file.path for file in files]
    names = paths[0].name if len(paths) == 1 else f"{paths[0].name} to {paths[-1].name}"
    lengths = Counter(len(member.lost) for member in members)
    if planes > 1:
        volumes, rest = divmod(frames, planes)
        what = f"volumes of {planes} planes" if volumes > 1 or len(files) > 1 else f"one volume of {planes} planes"
        what += f" and {rest} frames more" if rest else ""
    elif len(members) == 1 or set(lengths) == {1}:
        what = f"{frames} frames"
    else:
        what = "parts of one movie of " + ", ".join(f"{n} frames ({count} files)" for n, count in lengths.items())
    return f"{len(paths)} file{'s' if len(paths) > 1 else ''}, {names}, as {what}"
