"""Tags that decide which pixels, frames and axes a TIFF has: each variant is read exactly, or refused."""

import json
import struct

import numpy as np
import pytest

from lls_decode.errors import InputError
from lls_decode.movies import open_movie
from lls_decode.movies.choices import Choices
from tests.movies.raw_tiff import H, W, page, write

pytest.importorskip("tifffile")

MOVIE = np.random.default_rng(0).integers(90, 400, (12, H, W)).astype("uint16")


def strips(frame, padding=0):
    return [frame[row : row + 6].tobytes() + b"\5" * padding for row in range(0, H, 6)]


def small(frame, **tags):
    return page(np.ascontiguousarray(frame[::2, ::2]), **tags)


READ = {
    "strips in reverse order": lambda f: [page(f, strips=strips(f), stored_in=(3, 2, 1, 0), t278=6)],
    "strips with gaps": lambda f: [page(f, strips=strips(f), gap=6, t278=6)],
    "strips with gaps and a fill order": lambda f: [page(f, strips=strips(f), gap=6, t278=6, t266=1)],
    "adjacent strips with padding": lambda f: [page(f, strips=strips(f, 10), t278=6)],
    "padding after the only strip": lambda f: [page(f, strips=[f.tobytes() + bytes(10)])],
    "copies marked as reduced": lambda f: [page(f), small(f, t254=1)],
    "copies marked as reduced by the old tag": lambda f: [page(f, t255=1), small(f, t255=2)],
}


@pytest.mark.parametrize("make", READ.values(), ids=READ)
def test_pixels_are_read_exactly(make, tmp_path):
    path = write(tmp_path / "a.tif", [each for frame in MOVIE for each in make(frame)])
    assert np.array_equal(open_movie(path).read(0, 12), MOVIE)


REFUSED = {
    "too few bits": (lambda f: page(f, t258=8), "page 0 has 1920 bytes, expected 960 for 24 x 40 pixels of type uint8"),
    "too few rows": (lambda f: page(f, t257=H // 2), "page 0 has 1920 bytes, expected 960 for 12 x 40"),
    "all frames in one page": (lambda f: page(f, strips=[f.tobytes() * 3]), "page 0 has 5760 bytes, expected 1920"),
    "24 bits": (
        lambda f: page(f, strips=[bytes(3 * f.size)], t258=24),
        "values of 24 bits, expected 1 to 16, 32 or 64",
    ),
    "bits of three colours": (
        lambda f: page(f, strips=[bytes(3 * f.size)], t258=[8, 8, 8], t262=2),
        "pages with 3 colours, expected grey frames",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_contradictory_tags_are_refused(make, message, tmp_path):
    path = write(tmp_path / "a.tif", [make(frame) for frame in MOVIE])
    for choices in (Choices(), Choices(salvage=True)):
        with pytest.raises(InputError, match=message):
            open_movie(path, choices)


def at(frame, number, **tags):
    return page(frame, strips=[b""], t273=[number], t279=[frame.nbytes], **tags)


SHARED = {
    "one page": (
        lambda: [page(f) if i != 5 else at(f, 8 + 3) for i, f in enumerate(MOVIE)],
        "pixels of pages 0, 5 overlap",
    ),
    "all pages": (
        lambda: [page(f) if i == 0 else at(f, 8) for i, f in enumerate(MOVIE)],
        "pixels of pages 0-11 overlap",
    ),
}


@pytest.mark.parametrize(("make", "message"), SHARED.values(), ids=SHARED)
def test_pages_with_the_same_bytes_are_refused(make, message, tmp_path):
    path = write(tmp_path / "a.tif", make())
    with pytest.raises(InputError, match=message):
        open_movie(path)
    if "0, 5" in message:
        movie = open_movie(path, Choices(salvage=True))
        assert np.array_equal(movie.read(0, 10), MOVIE[[1, 2, 3, 4, 6, 7, 8, 9, 10, 11]])


def test_a_page_with_the_same_strip_twice_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", [page(f, strips=strips(f), t278=6) for f in MOVIE])
    data = path.read_bytes()
    size = 6 * W * 2
    places = struct.pack("<4I", *range(8, 8 + 4 * size, size))
    assert data.count(places) == 1
    path.write_bytes(data.replace(places, places[:4] + places[:4] + places[8:]))
    with pytest.raises(InputError, match="the pixels of page 0 overlap other pixels"):
        open_movie(path)


def test_copies_may_share_the_bytes_of_a_page(tmp_path):
    path = write(tmp_path / "a.tif", [page(MOVIE[0]), at(MOVIE[0], 8, t254=1), *(page(frame) for frame in MOVIE[1:])])
    assert np.array_equal(open_movie(path).read(0, 12), MOVIE)


def test_white_as_zero_gives_a_note(tmp_path):
    movie = open_movie(write(tmp_path / "a.tif", [page(frame, t262=0) for frame in MOVIE]))
    assert np.array_equal(movie.read(0, 12), MOVIE)
    assert any("zero as white" in note for note in movie.notes)


def described(path, text):
    return write(path, [page(f, **({"t270": text.encode() + b"\0"} if i == 0 else {})) for i, f in enumerate(MOVIE)])


@pytest.mark.parametrize(("order", "shape"), [("zct", "tcz"), ("czt", "tzc"), ("tzc", "czt")])
def test_imagej_states_the_order_of_its_axes(order, shape, tmp_path):
    text = f"ImageJ=1.53\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\norder={order}\n"
    movie = open_movie(described(tmp_path / "a.tif", text), Choices(channel="1"))
    sizes = {"t": 2, "z": 3, "c": 2}
    stored = MOVIE.reshape(*(sizes[axis] for axis in shape), H, W)
    wanted = stored.transpose(*(shape.index(axis) for axis in "ctz"), 3, 4)[1]
    assert movie.planes == 3
    assert np.array_equal(movie.read(0, 6), wanted.reshape(6, H, W))


def micro_manager(path, **summary):
    """Write a file as Micro-Manager leaves it when an acquisition is interrupted: without any description."""
    text = json.dumps({"Frames": 2, "Slices": 3, "Channels": 2, "Positions": 1, **summary}).encode()
    text += b" " * (len(text) % 2)
    header = struct.pack("<8I", 0, 0, 0, 0, 0, 0, 2355492, len(text)) + text
    return write(path, [page(frame) for frame in MOVIE], header)


@pytest.mark.parametrize("planes_first", [True, False])
def test_the_summary_of_micro_manager_separates_channels(planes_first, tmp_path):
    path = micro_manager(tmp_path / "a.tif", SlicesFirst=planes_first)
    with pytest.raises(InputError, match="2 channels"):
        open_movie(path)
    movie = open_movie(path, Choices(channel="1"))
    wanted = MOVIE.reshape(2, 2, 3, H, W)[:, 1] if planes_first else MOVIE.reshape(2, 3, 2, H, W)[:, :, 1]
    assert movie.planes == 3
    assert np.array_equal(movie.read(0, 6), wanted.reshape(6, H, W))


def test_a_summary_of_micro_manager_without_the_order_is_refused(tmp_path):
    with pytest.raises(InputError, match="not whether planes or channels follow each other"):
        open_movie(micro_manager(tmp_path / "a.tif"))


def test_an_interrupted_acquisition_of_micro_manager_is_refused_with_counts(tmp_path):
    with pytest.raises(InputError, match="Micro-Manager summary announces 20 frames, its list of pages ends after 12"):
        open_movie(micro_manager(tmp_path / "a.tif", Frames=5, Slices=4, Channels=1))


def ome(path, blocks, order="XYCZT"):
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint16" SizeX="{W}" SizeY="{H}" SizeC="1" SizeZ="1" '
        f'SizeT="12">{blocks}</Pixels></Image></OME>'
    )
    return described(path, text)


def blocks(pages=range(12), times=range(12), more="", file=""):
    uuid = f'<UUID FileName="{file}">urn:uuid:1</UUID>' if file else ""
    return "".join(
        f'<TiffData IFD="{page}" FirstT="{time}" PlaneCount="1" {more}>{uuid}</TiffData>'
        for page, time in zip(pages, times, strict=True)
    )


OME = {
    "a page is given twice": (blocks([0, 1, 2, 3, 4, 4, *range(6, 12)]), "gives page 4 of a.tif to two frames"),
    "a negative page": (blocks(range(-1, 11)), "IFD='-1'"),
    "a negative time": (blocks(times=range(-1, 11)), "FirstT='-1', expected 0 to 11"),
    "a channel beyond the size": (blocks(more='FirstC="1"'), "FirstC='1', expected 0 to 0"),
    "a time that is no number": (blocks(times=["a", *range(1, 12)]), "FirstT='a'"),
    "a negative count": ('<TiffData PlaneCount="-3"/>', "PlaneCount='-3'"),
    "a file of another folder": (blocks(file="../b.tif"), "names the file '../b.tif', expected a file in the same"),
}


@pytest.mark.parametrize(("text", "message"), OME.values(), ids=OME)
def test_inconsistent_places_of_ome_planes_are_refused(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        open_movie(ome(tmp_path / "a.tif", text))


@pytest.mark.parametrize("order", ["XYZZT", "XYZ"])
def test_an_impossible_order_of_ome_axes_is_refused(order, tmp_path):
    with pytest.raises(InputError, match=f"dimension order of '{order}'"):
        open_movie(ome(tmp_path / "a.tif", blocks(), order))


def test_ome_planes_are_read_in_the_stated_order(tmp_path):
    movie = open_movie(ome(tmp_path / "a.tif", blocks(range(11, -1, -1))))
    assert np.array_equal(movie.read(0, 12), MOVIE[::-1])
