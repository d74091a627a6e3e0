"""Members of a TIFF movie: the frames of one image, channel and position from a TIFF file or a set of OME-TIFFs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies.accounting import Account
from lls_decode.movies.axes import in_order
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.tiff.descriptions import Description, announced_by_micro_manager, describe, text_of
from lls_decode.movies.formats.tiff.files import Image, Stored, account_for, images_of
from lls_decode.movies.formats.tiff.layout import PixelLayout
from lls_decode.movies.formats.tiff.ome import DamagedXmlError, OmeSet, is_ome, read_ome
from lls_decode.movies.formats.tiff.pages import Ints, Pages, read_pages
from lls_decode.movies.lengths import Sizes
from lls_decode.movies.movie import check_type
from lls_decode.naming.choices import name_some, pick


@dataclass(frozen=True)
class Member:
    """Frames of one channel and position from one file or one set of files, ordered by time and plane."""

    files: tuple[Stored, ...]
    file_of: Ints
    page_of: Ints
    lost: npt.NDArray[np.bool_]
    planes: int
    """Planes per volume."""
    accounts: tuple[Account, ...]
    pixel_size: PixelSize | None
    z_step_nm: float | None
    notes: tuple[str, ...]

    @property
    def layout(self) -> PixelLayout:
        """Pixel layout of its first complete frame."""
        number = int(np.argmin(self.lost))
        file = self.files[int(self.file_of[number])]
        return file.layout_at(int(self.page_of[number]))

    @property
    def first(self) -> Stored:
        """First file that has frames."""
        return next(file for file in self.files if len(file))


def ome_set_of(path: Path) -> OmeSet | None:
    """Return the OME set of a file; None if it is not an OME-TIFF."""
    pages = read_pages(path)
    text = text_of(pages) if len(pages) else ""
    try:
        return read_ome(text, path) if is_ome(text) else None
    except DamagedXmlError:
        return None


def survey(path: Path, choices: Choices, *, is_one_of_many: bool = False) -> Member:
    """Read the structure of a file, and select one image, channel and position."""
    pages = read_pages(path)
    if len(pages) == 0:
        raise InputError(f"{path} has no complete page: {pages.ending}; restore the file.")
    text = text_of(pages)
    found = Description("its list of pages") if is_ome(text) else describe(pages)
    if not is_one_of_many and not found.shape:
        found = announced_by_micro_manager(pages, found)
    if is_ome(text):
        try:
            return _survey_set(path, pages, read_ome(text, path), choices)
        except DamagedXmlError as error:
            found = Description("its list of pages", problem=str(error))
    stored, account = account_for(path, pages, found)
    images = images_of(stored, pages, found)
    image = images[0]
    if len(images) > 1:
        where = _with_shapes(path, images, stored)
        image = images[pick([image.name for image in images], choices.position, "position", where)]
        choices = replace(choices, position=None)
    return _member(image, (stored,), (account,) if account else (), choices, path)


def _with_shapes(path: Path, images: Sequence[Image], stored: Stored) -> str:
    shapes = [f"{i.page_of.shape} of {' x '.join(map(str, _shape(i, stored)))} pixels" for i in images]
    return f"{path}, which holds {len(images)} images ({name_some(shapes)}),"


def _shape(image: Image, stored: Stored) -> tuple[int, int]:
    number = int(image.page_of.ravel()[0])
    return stored.layouts[stored.layout_of[number]].shape if 0 <= number < len(stored) else (0, 0)


def _survey_set(path: Path, pages: Pages, ome: OmeSet, choices: Choices) -> Member:
    names = [image.name for image in ome.images]
    chosen = ome.images[0]
    if len(names) > 1:
        chosen = ome.images[pick(names, choices.position, "position", path)]
        choices = replace(choices, position=None)
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
        why = f"its OME-XML does not state where {len(unnamed)} frames are stored"
        accounts.append(
            Account(path, chosen.file_of.size, chosen.file_of.size - len(unnamed), why, tuple(unnamed.tolist()))
        )
    image = Image(
        chosen.name, ("t", "z", "c"), chosen.file_of, chosen.page_of, chosen.channels, chosen.pixel_size,
        chosen.z_step_nm, chosen.notes,
    )  # fmt: skip
    if chosen.pixel_size is None:
        sizes = Sizes(None, chosen.z_step_nm, chosen.notes).or_else(describe(pages).sizes)
        image = replace(image, pixel_size=sizes.pixel_size, z_step_nm=sizes.z_step_nm, notes=sizes.notes)
    return _member(image, tuple(files), tuple(accounts), choices, path)


def _nothing(path: Path) -> Stored:
    """Return a file without frames."""
    none = np.zeros(0, np.int64)
    return Stored(path, 0, "<", (), none, none, none, np.zeros(0, bool))


def _member(
    image: Image, files: tuple[Stored, ...], accounts: tuple[Account, ...], choices: Choices, path: Path
) -> Member:
    """Order the frames of an image by time and plane, and determine which are lost."""
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
        raise InputError(f"{path} has no complete frame: {problem}; restore the file.")
    return Member(
        files, file_of, page_of, lost, order.index.shape[1] if order.is_volume else 1, accounts, image.pixel_size,
        image.z_step_nm, (*image.notes, *_white_notes(files, file_of, page_of, lost)),
    )  # fmt: skip


def _white_notes(
    files: tuple[Stored, ...], file_of: Ints, page_of: Ints, lost: npt.NDArray[np.bool_]
) -> tuple[str, ...]:
    """Return a note if frames are to be displayed inverted, which some programs take for inverted values."""
    for number, file in enumerate(files):
        used = np.unique(file.layout_of[page_of[(file_of == number) & ~lost]])
        if any(file.layouts[i].is_white_zero for i in used):
            return ("the files display zero as white; values are taken as stored, so brighter pixels must have more",)
    return ()


def _check_alike(path: Path, file: Stored, numbers: Ints) -> None:
    """Raise an error for frames that are in colour or differ in size or type."""
    layouts = [file.layouts[i] for i in np.unique(file.layout_of[numbers])]
    for layout in layouts:
        if layout.samples > 1:
            raise InputError(
                f"{file.path} has pages with {layout.samples} colours, expected grey frames; save it as greyscale."
            )
        check_type(file.path, layout.dtype)
        if layout.bits > 16 and layout.bits % 32:
            raise InputError(
                f"{file.path} has values of {layout.bits} bits, expected 1 to 16, 32 or 64; save it with 32 bits."
            )
        if layout.alike != layouts[0].alike:
            raise InputError(
                f"{path} has pages of {layouts[0].alike[:2]} and {layout.alike[:2]}, expected pages that are all "
                "alike; save them as separate files."
            )
