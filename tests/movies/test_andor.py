"""Andor Solis movies: real files, and synthetic ones with padded rows, packed pixels or truncation."""

import re
import shutil

import numpy as np
import pytest

from lls_decode.axes import Layout
from lls_decode.errors import InputError
from lls_decode.frames import open_source
from lls_decode.frames.metadata.salvage import read_salvage
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from tests.movies.test_ndtiff import stored

H, W = 5, 7


def counts(n, dtype="uint16", height=H, width=W):
    return np.random.default_rng(1).integers(90, 2000, (n, height, width)).astype(dtype)


def sif_text(n, height, width, *, stamps="flag 0", bin_x=1, bin_y=1):
    text = b"Andor Technology Multi-Channel File\n65538 1\n65567 0 0 1 1615747824 -70 \x00 \x01 0 0.1\nDU897 \n"
    text += f"Pixel number6\nCounts12\nPixel number65541 1 {height * bin_y} {width * bin_x} 1 {n} 1 ".encode()
    text += f"{n * height * width} {height * width}\n".encode()
    text += f"65538 1 {height * bin_y} {width * bin_x} 1 {bin_y} {bin_x} 0\n".encode()
    lines = b"".join(f"{i:10d}\n".encode() for i in range(n))
    return text + lines + {"old": b"", "flag 0": b"0\n", "flag 1": b"1\n" + lines}[stamps]


def write_sif(path, data, *, tail=b"0\n0\n0\n0\n", **options):
    path.write_bytes(sif_text(*data.shape, **options) + data.astype("<f4").tobytes() + tail)
    return path


@pytest.mark.parametrize("stamps", ["old", "flag 0", "flag 1"])
def test_frames_of_a_sif_are_read_for_every_version(stamps, tmp_path):
    data = counts(6, "float32")
    source = convert(write_sif(tmp_path / "a.sif", data, stamps=stamps), tmp_path / "a.zarr")
    assert source.layout == Layout(6, 1, H, W)
    np.testing.assert_array_equal(stored(source), data)


def test_binned_pixels_of_a_sif_are_counted_once(tmp_path):
    data = counts(3, "float32")
    movie = open_movie(write_sif(tmp_path / "a.sif", data, bin_x=2, bin_y=4))
    np.testing.assert_array_equal(movie.read(1, 3), data[1:])


@pytest.mark.parametrize("frames", [0.5, 2, 4.25])
def test_a_truncated_sif_is_refused_with_counts_and_its_whole_frames_are_salvaged(frames, tmp_path):
    data = counts(6, "float32")
    path = write_sif(tmp_path / "a.sif", data)
    size = len(sif_text(*data.shape)) + int(frames * H * W * 4)
    path.write_bytes(path.read_bytes()[:size])
    whole = int(frames)
    with pytest.raises(InputError, match=f"announced 6 frames, {whole} complete, {size} bytes: truncated"):
        open_movie(path)
    if whole:
        source = convert(path, tmp_path / "a.zarr", salvage=True)
        np.testing.assert_array_equal(stored(source), data[:whole])
        assert read_salvage(str(tmp_path / "a.zarr")) != []


@pytest.mark.parametrize("size", [10, 60, 200, 300])
def test_a_sif_truncated_in_its_header_is_refused(size, tmp_path):
    path = write_sif(tmp_path / "a.sif", counts(9, "float32"))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"restore|not an Andor file"):
        open_movie(path, Choices(salvage=True))


def test_unknown_bytes_after_the_frames_of_a_sif_are_reported(tmp_path):
    path = write_sif(tmp_path / "a.sif", counts(2, "float32"), tail=b"\x00\x01" * 70)
    with pytest.raises(InputError, match="140 bytes follow the frames"):
        open_movie(path)


def packed(data, stride):
    """Pack pixels of 12 bits: high eight bits of the first, low four of both, high eight of the second."""
    rows = np.zeros((*data.shape[:2], stride), np.uint8)
    for x in range(data.shape[2]):
        at = x // 2 * 3
        if x % 2 == 0:
            rows[..., at] = data[..., x] >> 4
            rows[..., at + 1] |= (data[..., x] & 15).astype(np.uint8)
        else:
            rows[..., at + 1] |= ((data[..., x] & 15) << 4).astype(np.uint8)
            rows[..., at + 2] = data[..., x] >> 4
    return rows


def plain(data, stride):
    rows = np.full((*data.shape[:2], stride), 77, np.uint8)
    rows[..., : data.shape[2] * data.itemsize] = data.astype(data.dtype.newbyteorder("<")).view(np.uint8)
    return rows


ENCODINGS = {"Mono12Packed": ("uint16", packed, 12), "Mono16": ("uint16", plain, 16), "Mono12": ("uint16", plain, 15),
             "Mono32": ("uint32", plain, 32), "Mono8": ("uint8", plain, 9)}  # fmt: skip


def write_spool(folder, data, encoding, *, per_file=4, announced=None, extra=40):
    """Write spool files of images with padded rows and trailing camera bytes; zeros fill up the last file."""
    _, encode, stride = ENCODINGS[encoding]
    folder.mkdir()
    rows = encode(data, stride).reshape(len(data), -1)
    images = np.concatenate([rows, np.full((len(rows), extra), 9, np.uint8)], axis=1)
    for number in range(-(-len(data) // per_file)):
        part = images[number * per_file : (number + 1) * per_file].tobytes()
        name = f"{number:010d}"[::-1] + "spool.dat"
        (folder / name).write_bytes(part.ljust(per_file * images.shape[1], b"\0"))
    (folder / "acquisitionmetadata.ini").write_text(
        f"[data]\nAOIHeight = {H}\nAOIWidth = {W}\nAOIStride = {stride}\nPixelEncoding = {encoding}\n"
        f"ImageSizeBytes = {images.shape[1]}\n\n[multiimage]\nImagesPerFile = {per_file}\n",
        encoding="utf-8-sig",
    )
    (folder / "Spooled files.sifx").write_bytes(sif_text(announced or len(data), H, W, stamps="flag 1") + b"0\n" * 4)
    return folder


def images(encoding, n):
    return np.minimum(counts(n), 250 if encoding == "Mono8" else 65535).astype(ENCODINGS[encoding][0])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_spooled_pixels_are_unpacked_and_row_padding_is_removed(encoding, tmp_path):
    data = images(encoding, 50)
    source = convert(write_spool(tmp_path / "in", data, encoding), tmp_path / "a.zarr")
    assert source.dtype == data.dtype
    np.testing.assert_array_equal(stored(source), data)  # 13 files, whose names do not sort by number


@pytest.mark.parametrize("name", ["Spooled files.sifx", "1000000000spool.dat", "acquisitionmetadata.ini"])
def test_a_spooled_acquisition_is_found_by_any_of_its_files(name, tmp_path):
    folder = write_spool(tmp_path / "in", images("Mono16", 6), "Mono16")
    assert open_movie(folder / name).num_frames == 6


@pytest.mark.parametrize("encoding", ["Mono12Packed", "Mono16"])
@pytest.mark.parametrize("whole", [0, 1, 3])
def test_a_truncated_spool_file_is_refused_with_counts_and_salvaged(encoding, whole, tmp_path):
    data = images(encoding, 10)
    folder = write_spool(tmp_path / "in", data, encoding)
    path = folder / "1000000000spool.dat"
    image_bytes = path.stat().st_size // 4
    path.write_bytes(path.read_bytes()[: whole * image_bytes + image_bytes // 2])
    with pytest.raises(InputError, match=rf"announced 4 frames, {whole} complete, \d+ bytes: truncated.*--salvage"):
        open_movie(folder)
    movie = open_movie(folder, Choices(salvage=True))
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), data[[*range(4 + whole), 8, 9]])
    assert movie.is_closed_up


@pytest.mark.parametrize("encoding", ["Mono12Packed", "Mono16"])
def test_preallocated_spool_files_with_a_tail_of_zeros_are_refused(encoding, tmp_path):
    data = images(encoding, 10)
    folder = write_spool(tmp_path / "in", data, encoding)
    path = folder / "1000000000spool.dat"
    image_bytes = path.stat().st_size // 4
    path.write_bytes(path.read_bytes()[: 2 * image_bytes].ljust(4 * image_bytes, b"\0"))
    with pytest.raises(InputError, match="zeros fill the end of the file where 2 of its frames"):
        open_movie(folder)
    movie = open_movie(folder, Choices(salvage=True))
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), data[[*range(6), 8, 9]])


def test_a_missing_spool_file_is_named(tmp_path):
    data = images("Mono16", 12)
    folder = write_spool(tmp_path / "in", data, "Mono16")
    (folder / "1000000000spool.dat").unlink()
    with pytest.raises(InputError, match=r"1000000000spool\.dat: announced 4 frames, 0 complete.*--allow-gaps"):
        open_movie(folder)
    movie = open_movie(folder, Choices(allow_gaps=True))
    np.testing.assert_array_equal(movie.read(0, 8), data[[*range(4), *range(8, 12)]])
    assert movie.is_closed_up


@pytest.mark.parametrize(
    ("announced", "says"), [(13, "room for 12 frames"), (10, "bytes after the last of the 10 frames")]
)
def test_the_sifx_and_the_files_must_agree(announced, says, tmp_path):
    folder = write_spool(tmp_path / "in", images("Mono16", 12), "Mono16", announced=announced)
    with pytest.raises(InputError, match=says):
        open_movie(folder)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Mono16", "Mono22Parallel", "states the pixel encoding Mono22Parallel, expected Mono8"),
        ("AOIStride = 16", "AOIStride = 12", "inconsistent"),
        ("AOIWidth = 7", "AOIWidth = seven", "does not describe the images"),
        ("AOIWidth = 7", "AOIWidth = 6", "states frames of 5 x 7 pixels"),
    ],
)
def test_unusable_spool_descriptions_are_refused(old, new, says, tmp_path):
    folder = write_spool(tmp_path / "in", images("Mono16", 4), "Mono16")
    ini = folder / "acquisitionmetadata.ini"
    ini.write_text(ini.read_text().replace(old, new))
    with pytest.raises(InputError, match=re.escape(says)):
        open_movie(folder)


def test_a_real_spooled_acquisition_has_the_counts_of_its_text_export(shared_data, tmp_path):
    folder = shared_data / "movies" / "andor" / "spool_Mono16"
    lines = (folder / "Spooled files_text.asc").read_text().splitlines()[:200]
    columns = np.array([line.split("\t")[1:201] for line in lines], int)
    source = convert(folder, tmp_path / "a.zarr")
    np.testing.assert_array_equal(stored(source)[0], columns.T)
    copy = tmp_path / "cut"
    shutil.copytree(folder, copy)
    copy.chmod(0o755)
    path = copy / "0000000000spool.dat"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:79_998])
    with pytest.raises(InputError, match="announced 1 frames, 0 complete, 79998 bytes"):
        open_movie(copy)


def test_a_real_sif_file_has_the_values_at_its_end(shared_data, tmp_path):
    path = shared_data / "movies" / "andor" / "movie.sif"
    data = path.read_bytes()
    truth = np.frombuffer(data[-8 - 4 * 256 * 256 : -8], "<f4").reshape(256, 256)
    convert(path, tmp_path / "a.zarr")
    np.testing.assert_array_equal(stored(open_source(tmp_path / "a.zarr"))[0], truth)
    cut = tmp_path / "cut.sif"
    cut.write_bytes(data[:-9])
    with pytest.raises(InputError, match="announced 1 frames, 0 complete, 264889 bytes"):
        open_movie(cut)


def test_a_folder_of_sif_files_is_one_movie_in_order_of_numbers(tmp_path):
    data = counts(23, "float32")
    parts = [data[0:2], *np.split(data[2:], range(2, 21, 2))]
    for number, part in enumerate(parts):
        write_sif(tmp_path / f"run-{number}.sif", part)
    movie = open_movie(tmp_path)
    assert movie.told == "12 files, run-0.sif to run-11.sif, as 23 frames"
    np.testing.assert_array_equal(movie.read(0, 23), data)
    np.testing.assert_array_equal(movie.read(3, 5), data[3:5])
    (tmp_path / "run-7.sif").unlink()
    with pytest.raises(InputError, match=r"between run-6\.sif and run-8\.sif"):
        open_movie(tmp_path)
    movie = open_movie(tmp_path, Choices(allow_gaps=True))
    np.testing.assert_array_equal(movie.read(0, 21), np.delete(data, [14, 15], axis=0))
    assert movie.is_closed_up
    assert movie.losses


@pytest.mark.parametrize(("shape", "says"), [((2, H, W + 1), "must be alike"), ((3, H, W), "a-1.sif has 3 frames")])
def test_sif_files_of_different_size_are_refused(shape, says, tmp_path):
    for number in range(3):
        write_sif(tmp_path / f"a-{number}.sif", np.ones(shape if number == 1 else (2, H, W)))
    with pytest.raises(InputError, match=re.escape(says)):
        open_movie(tmp_path)


def test_a_pattern_selects_one_of_two_kinds_of_files(tmp_path):
    data = counts(4, "float32")
    for number in range(2):
        write_sif(tmp_path / f"a-{number}.sif", data[2 * number : 2 * number + 2])
    (tmp_path / "a.dax").write_bytes(b"x")
    with pytest.raises(InputError, match=r"movies of 2 kinds \(\.dax, \.sif\)"):
        open_movie(tmp_path)
    np.testing.assert_array_equal(open_movie(tmp_path / "*.sif").read(0, 4), data)


@pytest.mark.parametrize("name", [".", "Spooled files.sifx", "0000000000spool.dat"])
def test_spooled_files_without_their_description_are_refused(name, tmp_path):
    folder = write_spool(tmp_path / "in", images("Mono16", 4), "Mono16")
    (folder / "acquisitionmetadata.ini").unlink()
    with pytest.raises(InputError, match=r"has no acquisitionmetadata\.ini"):
        open_movie(folder / name)
