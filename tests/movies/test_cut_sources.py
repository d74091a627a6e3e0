"""Camera files truncated at any byte, or with overwritten bytes, are read exactly or refused."""

import numpy as np
import pytest

pytest.importorskip("h5py")
pytest.importorskip("tifffile")
pytest.importorskip("nd2")
pytest.importorskip("pylibCZIrw")

from lls_decode.errors import InputError
from lls_decode.movies import open_movie
from lls_decode.movies.choices import Choices
from tests.movies import test_andor, test_czi, test_dcimg, test_hdf5, test_nd2, test_stk

CUTS = 40


def hdf5(path, data, **options):
    with test_hdf5.h5py.File(path, "w", libver=options.pop("libver", "earliest")) as file:
        file.create_dataset("a", data=data, **options)
    return path


def spool(path, data, encoding):
    test_andor.write_spool(path.with_suffix(""), data, encoding)
    return path.with_suffix("") / "1000000000spool.dat"


SOURCES = {
    "sif": (".sif", (6, 5, 7), "float32", test_andor.write_sif),
    "spool Mono16": (".spool", (10, 5, 7), "uint16", lambda p, d: spool(p, d, "Mono16")),
    "spool Mono12Packed": (".spool", (10, 5, 7), "uint16", lambda p, d: spool(p, d, "Mono12Packed")),
    "hdf5": (".h5", (9, 6, 9), "uint16", hdf5),
    "hdf5 chunks": (".h5", (9, 6, 9), "uint16", lambda p, d: hdf5(p, d, chunks=(2, 6, 9), compression="gzip")),
    "hdf5 latest": (".h5", (9, 6, 9), "uint16", lambda p, d: hdf5(p, d, chunks=(1, 6, 9), libver="latest")),
    "imaris": (".ims", (9, 6, 9), "uint16",
               lambda p, d: test_hdf5.write_ims(p, d[:, None, None], padding=(0, 2, 7))),
    "czi": (".czi", (9, 6, 9), "uint16", test_czi.write_czi),
    "czi zstd": (".czi", (9, 6, 9), "uint16",
                 lambda p, d: test_czi.write_czi(p, d, compression="zstd1:ExplicitLevel=2")),
    "dcimg": (".dcimg", (9, 6, 9), "uint16", test_dcimg.write_new),
    "dcimg without lines apart": (".dcimg", (9, 6, 9), "uint16", lambda p, d: test_dcimg.write_old(p, d, line=None)),
    "stk": (".stk", (9, 6, 9), "uint16", test_stk.write_stk),
    "stk description last": (".stk", (9, 6, 9), "uint16",
                             lambda p, d: test_stk.write_stk(p, d, description_first=False)),
    "nd2": (".nd2", (9, 6, 9), "uint16", lambda p, d: test_nd2.write_nd2(p, d[:, None])),
}  # fmt: skip


def is_part(frames, truth):
    """Return whether the frames are a subsequence of the truth."""
    left = iter(truth)
    return all(any(np.array_equal(frame, other) for other in left) for frame in frames)


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_truncated_anywhere_is_refused_and_salvage_gives_true_frames(name, tmp_path):
    suffix, shape, dtype, write = SOURCES[name]
    rng = np.random.default_rng(len(name))
    data = rng.integers(90, 4000, shape).astype(dtype)
    path = write(tmp_path / f"a{suffix}", data)
    whole = path.read_bytes()
    where = path.parent if "spool" in name else path
    movie = open_movie(where)
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), data)
    del movie
    salvaged = 0
    for size in rng.integers(0, len(whole), CUTS):
        path.unlink()
        path.write_bytes(whole[:size])
        try:
            movie = open_movie(where)
            assert np.array_equal(movie.read(0, movie.num_frames), data), f"{size} of {len(whole)} bytes"
        except InputError:
            pass
        try:
            movie = open_movie(where, Choices(salvage=True))
            frames = movie.read(0, movie.num_frames)
        except InputError:
            continue
        assert is_part(frames, data), f"{size} of {len(whole)} bytes"
        salvaged += 1
    assert salvaged or name in ("nd2", "stk description last", "hdf5 chunks")  # described at the end


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_with_overwritten_bytes_is_read_or_refused(name, tmp_path):
    """Zeros may be valid pixels, but no overwritten bytes may cause an unexpected error."""
    suffix, shape, dtype, write = SOURCES[name]
    rng = np.random.default_rng(len(name))
    path = write(tmp_path / f"a{suffix}", rng.integers(90, 4000, shape).astype(dtype))
    whole = path.read_bytes()
    where = path.parent if "spool" in name else path
    for start in rng.integers(0, max(1, min(len(whole), 4000)), CUTS):
        length = min(int(rng.choice([4, 64, 300])), len(whole) - start)
        path.unlink()
        path.write_bytes(whole[:start] + bytes(length) + whole[start + length :])
        try:
            movie = open_movie(where, Choices(salvage=bool(rng.integers(2))))
            movie.read(0, movie.num_frames)
        except InputError:
            pass
