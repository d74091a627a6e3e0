"""Both codec pipelines refuse chunks that would decompress to far more than their pixels."""

import gzip
import importlib.util
import os
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from lls_decode.errors import ChunkError, InputError
from lls_decode.frames import open_source
from lls_decode.frames.storage import codecs
from lls_decode.frames.storage.bounded import check_compressed
from lls_decode.frames.storage.codecs import use_fast_codecs
from lls_decode.frames.storage.keys import DirectoryKeys

BOMB_BYTES = 64 << 20
SHAPE = (2, 32, 32)


def _lying_blosc(pixels: bytes) -> bytes:
    """Return a chunk whose header states a too large size, which makes its library read beyond the end."""
    data = bytearray(numcodecs.Blosc(cname="lz4", shuffle=0).encode(pixels))
    data[12:16] = (len(data) + 1_000_000).to_bytes(4, "little")
    return bytes(data)


def _unsized_zstd(pixels: bytes) -> bytes:
    """Return a Zstandard frame without content size: repeated bytes in blocks of 128 KiB."""
    blocks = len(pixels) // (128 << 10)
    block = 128 << 10 << 3 | 1 << 1
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(
        (block | (number == blocks - 1)).to_bytes(3, "little") + b"\0" for number in range(blocks)
    )


KINDS: dict[str, tuple[Any, Callable[[bytes], bytes]]] = {
    "blosc": (BloscCodec(), lambda pixels: bytes(numcodecs.Blosc().encode(pixels))),
    "blosc with a wrong header": (BloscCodec(), lambda pixels: _lying_blosc(pixels[: np.prod(SHAPE) * 2])),
    "zstd": (ZstdCodec(), lambda pixels: bytes(numcodecs.Zstd().encode(pixels))),
    "zstd without size": (ZstdCodec(), _unsized_zstd),
    "gzip": (GzipCodec(), gzip.compress),
}


@pytest.fixture(params=["zarr", "zarrs"])
def pipeline(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run each test with each of the two codec pipelines."""
    before = zarr.config.get("codec_pipeline.path")
    if request.param == "zarrs":
        if importlib.util.find_spec("zarrs") is None:
            pytest.skip("zarrs is not installed")
        use_fast_codecs()
    yield request.param
    zarr.config.set({"codec_pipeline.path": before})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharded", [False, True], ids=["chunks", "shards"])
def test_decompression_bombs_are_refused(tmp_path: Path, pipeline: str, kind: str, sharded: bool) -> None:
    codec, pack = KINDS[kind]
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=SHAPE, chunks=SHAPE, shards=SHAPE if sharded else None, dtype="u2",
        compressors=[codec],
    )  # fmt: skip
    values = np.arange(np.prod(SHAPE), dtype="u2").reshape(SHAPE)
    array[:] = values
    opened = codecs.open_array(DirectoryKeys(tmp_path / "a.zarr").open_store(), "")
    np.testing.assert_array_equal(np.asarray(opened[:]), values)
    chunk = next(path for path in (tmp_path / "a.zarr" / "c").rglob("*") if path.is_file())
    bomb = pack(bytes(BOMB_BYTES))
    index = np.array([0, len(bomb)], "<u8").tobytes()
    chunk.write_bytes(bomb + index + bytes(numcodecs.CRC32C().encode(index))[-4:] if sharded else bomb)
    tracemalloc.start()
    try:
        with pytest.raises(Exception, match=r"decompresses to|header states"):
            _ = opened[:]
        assert tracemalloc.get_traced_memory()[1] < BOMB_BYTES / 4
    finally:
        tracemalloc.stop()


def test_decompression_bombs_in_zarr_v2_with_filters_are_refused(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=SHAPE, chunks=SHAPE, dtype="u2", zarr_format=2, filters=[numcodecs.Delta("u2")],
        compressors=[numcodecs.Zlib()],
    )  # fmt: skip
    array[:] = 7
    opened = codecs.open_array(DirectoryKeys(tmp_path / "a.zarr").open_store(), "")
    assert np.all(np.asarray(opened[:]) == 7)
    chunk = tmp_path / "a.zarr" / "0.0.0"
    chunk.write_bytes(bytes(numcodecs.Zlib().encode(bytes(BOMB_BYTES))))
    with pytest.raises(ValueError, match="decompresses to"):
        _ = opened[:]


def _long(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 30)


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


NO_CHUNKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (_replaced(os.mkfifo), "it is a named pipe, expected a file"),
    "a device": (_replaced(lambda path: path.symlink_to("/dev/zero")), "it is a device, expected a file"),
    "a folder": (_replaced(Path.mkdir), "it is a folder, expected a file"),
    "a file of 1 GiB": (_long, "it has 1073741824 bytes, expected at most"),
}


@pytest.mark.posix("needs pipes and devices")
@pytest.mark.parametrize("kind", NO_CHUNKS)
@pytest.mark.parametrize("layout", ["uncompressed", "compressed", "sharded"])
def test_a_chunk_that_is_no_file_of_its_size_is_refused(tmp_path: Path, pipeline: str, kind: str, layout: str) -> None:
    """Opening a pipe would block; reading a device or a long file would fill the memory."""
    options: dict[str, Any] = {"compressors": None} if layout == "uncompressed" else {}
    if layout == "sharded":
        options["shards"] = (4, *SHAPE[1:])
    zarr.create_array(tmp_path / "a.zarr", shape=(4, *SHAPE[1:]), chunks=SHAPE, dtype="u2", **options)[:] = 7
    make, words = NO_CHUNKS[kind]
    make(tmp_path / "a.zarr" / "c" / "0" / "0" / "0")
    array = codecs.open_array(DirectoryKeys(tmp_path / "a.zarr").open_store(), "")
    with pytest.raises(ValueError, match=words):
        array[:]


@pytest.mark.parametrize("pixels_bytes", [1000, 40 << 20])
@pytest.mark.parametrize("codec", ["Blosc", "Zstd", "GZip", "Zlib", "LZ4", "BZ2", "LZMA"])
def test_chunks_of_the_right_size_are_read(codec: str, pixels_bytes: int) -> None:
    data = bytes(getattr(numcodecs, codec)().encode(bytes(pixels_bytes)))
    check_compressed(codec.lower(), len(data), lambda most: data[:most], pixels_bytes)


@pytest.mark.parametrize("codec", ["Blosc", "Zstd", "GZip", "Zlib", "LZ4", "BZ2", "LZMA"])
def test_every_codec_is_checked(codec: str) -> None:
    data = bytes(getattr(numcodecs, codec)().encode(bytes(BOMB_BYTES)))
    with pytest.raises(ValueError, match="decompresses to"):
        check_compressed(codec.lower(), len(data), lambda most: data[:most], 1000)


def nested_v3(path: Path) -> None:
    zarr.create_array(path, shape=SHAPE, chunks=SHAPE, dtype="u2", compressors=[GzipCodec(), ZstdCodec()])


def nested_in_shards(path: Path) -> None:
    compressors = [ZstdCodec(), GzipCodec()]
    zarr.create_array(path, shape=SHAPE, chunks=SHAPE, shards=SHAPE, dtype="u2", compressors=compressors)


def nested_v2(path: Path) -> None:
    options = {"filters": [numcodecs.Zlib()], "compressors": numcodecs.Zstd(), "zarr_format": 2}
    zarr.create_array(path, shape=SHAPE, chunks=SHAPE, dtype="u2", **options)


@pytest.mark.parametrize("create", [nested_v3, nested_in_shards, nested_v2])
def test_chunks_that_are_compressed_twice_are_refused(
    create: Callable[[Path], None], tmp_path: Path, pipeline: str
) -> None:
    """The size after the second decompression is unknown: 10 kB expand to 10 MB and then to 10 GB."""
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        create(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"its chunks are compressed 2 times \(\w+, \w+\), expected once"):
        open_source(tmp_path / "a.zarr")


def test_a_bomb_in_a_filter_is_refused(tmp_path: Path, pipeline: str) -> None:
    filters = [numcodecs.Zlib()]
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=SHAPE, chunks=SHAPE, dtype="u2", filters=filters, compressors=None, zarr_format=2
    )
    array[:] = 1
    (tmp_path / "a.zarr" / "0.0.0").write_bytes(zlib.compress(bytes(BOMB_BYTES)))
    source = open_source(tmp_path / "a.zarr")
    with pytest.raises(ChunkError, match="it decompresses to"):
        source.read_frames(np.array([[0, 0]]))
