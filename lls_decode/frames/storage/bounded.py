"""Check of chunks before they are read and decompressed: their size must be about that of their pixels.

A few kilobytes of blosc, Zstandard or gzip can expand to gigabytes. A blosc header can also state a wrong length of the
chunk, which makes the library read beyond its end. Each decoder therefore calls `check_compressed` first. A pipe in
place of a chunk blocks its reader, and a device or a file with a wrong length fills the memory; see `check_files`.
"""

import asyncio
import bz2
import lzma
import math
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline
from zarr.storage import LocalStore

from lls_decode.documents import special_mode

Read = Callable[[int], bytes]
"""Function that returns the first bytes of a chunk, given their number."""

LEAST_LIMIT_BYTES: Final = 16 << 20
"""Decompressed size up to which a chunk is always accepted."""
MOST_TIMES: Final = 2
"""Largest accepted ratio of decompressed size to pixel size; filters may store 4-byte numbers as 8-byte numbers."""
_MOST_GAPS: Final = 8
"""Largest ratio of a shard's file to its chunks; writers that change a chunk may leave its old bytes in the file."""
_DEFLATE_RATIO: Final = 1032
"""Largest compression ratio of gzip and zlib."""
_PIECE_BYTES: Final = 1 << 20
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER_BYTES: Final = 18
_ZSTD_BLOCK_BYTES: Final = 128 << 10
"""Largest decompressed size of one Zstandard block."""


def check_compressed(kind: str, length: int, read: Callable[[int], bytes], pixels_bytes: int) -> None:
    """Raise an error for a chunk that decompresses to far more than its pixels, or whose header has a wrong length.

    Parameters
    ----------
    kind
        Name of the codec: ``blosc``, ``zstd``, ``gzip``, ``zlib``, ``lz4``, ``bz2``, ``lzma``; others are not checked.
    length
        Size of the compressed chunk in bytes.
    read
        Function that returns the first bytes of the chunk; not called if the chunk is too short to be harmful.
    pixels_bytes
        Expected size of the chunk's pixels in bytes.

    Raises
    ------
    ValueError
        The chunk is too large or inconsistent; the message states its decompressed size.
    """
    limit = max(MOST_TIMES * pixels_bytes, LEAST_LIMIT_BYTES)
    measure = _MEASURES.get(kind)
    found = measure(length, read, limit) if measure is not None else 0
    if found > limit:
        raise ValueError(f"it decompresses to {found} bytes or more, expected {pixels_bytes}")


def check_files(chunks: Iterable[Any], *, sharded: bool) -> None:
    """Raise an error for chunks in a folder that are not regular files, or far larger than their pixels.

    Parameters
    ----------
    chunks
        Chunks as zarr's pipelines get them: function that reads a chunk, its description, and more.
    sharded
        Whether the chunks are shards, which may have gaps.

    Raises
    ------
    ValueError
        The message says what was found.
    """
    for getter, spec, *_ in chunks:
        store = getattr(getter, "store", None)
        if not isinstance(store, LocalStore):
            continue
        try:
            found = os.stat(store.root / getter.path)
        except OSError:  # absent or unreadable: zarr reports it
            continue
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else special_mode(found.st_mode)
        if kind is not None:
            raise ValueError(f"it is {kind}, expected a file")
        expected = pixels_bytes(spec)
        most_times = MOST_TIMES * (_MOST_GAPS if sharded else 1)
        if found.st_size > max(most_times * expected, LEAST_LIMIT_BYTES):
            raise ValueError(f"it has {found.st_size} bytes, expected at most {expected}")


def _blosc(length: int, read: Read, limit: int) -> int:
    head = read(16)
    if len(head) < 16:
        raise ValueError("its blosc header is truncated")
    size, _, compressed = struct.unpack_from("<III", head, 4)
    if compressed != length:
        raise ValueError(f"its blosc header states {compressed} bytes, but it has {length}")
    return int(size)


def _lz4(length: int, read: Read, limit: int) -> int:
    return int.from_bytes(read(4), "little")


def _zstd(length: int, read: Read, limit: int) -> int:
    """Return the stated decompressed size or, if there is none, an upper limit from the blocks."""
    data = read(_ZSTD_HEADER_BYTES)
    if data[:4] != _ZSTD_MAGIC or len(data) < 6:
        return 0  # the decoder raises an error
    descriptor = data[4]
    single, flag = descriptor >> 5 & 1, descriptor >> 6
    at = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    width = (single, 2, 4, 8)[flag]
    if width:
        return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    data, found = read(length), 0
    while at + 3 <= len(data) and found <= limit:
        header = int.from_bytes(data[at : at + 3], "little")
        kind, size = header >> 1 & 3, header >> 3
        found += size if kind < 2 else _ZSTD_BLOCK_BYTES
        at += 3 + (1 if kind == 1 else size)
        if header & 1:
            break
    return found


def _deflated(length: int, read: Read, limit: int) -> int:
    """Measure the size of gzip or zlib data by decompressing in pieces; return 0 if the data are short enough."""
    return 0 if length * _DEFLATE_RATIO <= limit else _unpacked(zlib.decompressobj(47), read(length), limit)


def _bz2(length: int, read: Read, limit: int) -> int:
    return _unpacked(bz2.BZ2Decompressor(), read(length), limit)


def _lzma(length: int, read: Read, limit: int) -> int:
    return _unpacked(lzma.LZMADecompressor(memlimit=256 << 20), read(length), limit)


def _unpacked(decoder: Any, data: bytes, limit: int) -> int:
    found, rest = 0, data
    try:
        while found <= limit:
            piece = decoder.decompress(rest, _PIECE_BYTES)
            rest = getattr(decoder, "unconsumed_tail", b"")
            found += len(piece)
            if decoder.eof or not piece:
                break
    except (zlib.error, OSError, EOFError, lzma.LZMAError):  # damaged: the decoder raises an error
        return 0
    return found


_MEASURES: Final[Mapping[str, Any]] = {
    "blosc": _blosc, "zstd": _zstd, "gzip": _deflated, "zlib": _deflated, "lz4": _lz4, "bz2": _bz2, "lzma": _lzma,
}  # fmt: skip


class BoundedPipeline(BatchedCodecPipeline):
    """zarr's own decoders, with a check of each chunk before decompression."""

    async def read(self, batch_info: Iterable[Any], out: Any, drop_axes: tuple[int, ...] = ()) -> Any:
        """Check the files of the chunks, then read them."""
        chunks = list(batch_info)
        if any(isinstance(getattr(getter, "store", None), LocalStore) for getter, *_ in chunks):
            await asyncio.to_thread(check_files, chunks, sharded=has_shards(self))
        return await super().read(chunks, out, drop_axes)

    async def decode_batch(self, chunk_bytes_and_specs: Iterable[tuple[Any, Any]]) -> Iterable[Any]:
        """Check the chunks, then decode them."""
        chunks, kind = list(chunk_bytes_and_specs), outermost(self)
        for data, spec in chunks if kind else ():
            if data is not None:
                whole = data.as_numpy_array().view("u1")
                check_compressed(kind, len(whole), partial(_first_bytes, whole), pixels_bytes(spec))
        return await super().decode_batch(chunks)

    @classmethod
    def from_codecs(cls, codecs: Iterable[Any], *, batch_size: int | None = None) -> Self:
        """Make the pipeline; chunks inside shards are checked, too.

        Raises
        ------
        ValueError
            Chunks are compressed several times, so that only the size after the first decompression could be checked.
        """
        codecs = list(codecs)
        _refuse_nested(codecs)
        return super().from_codecs([_bounded(codec) for codec in codecs], batch_size=batch_size)


def _first_bytes(data: npt.NDArray[np.uint8], most: int) -> bytes:
    return data[:most].tobytes()


class _BoundedShards(ShardingCodec):
    """Sharding codec with a check of each chunk before decompression."""

    @property
    def codec_pipeline(self) -> Any:
        return BoundedPipeline.from_codecs(self.codecs)


def _bounded(codec: Any) -> Any:
    if type(codec) is not ShardingCodec:
        return codec
    return _BoundedShards(
        chunk_shape=codec.chunk_shape,
        codecs=codec.codecs,
        index_codecs=codec.index_codecs,
        index_location=codec.index_location,
    )


def has_shards(codecs: Iterable[Any]) -> bool:
    """Return whether the outermost chunks are shards."""
    return any(isinstance(codec, ShardingCodec) for codec in codecs)


def outermost(codecs: Iterable[Any]) -> str:
    """Return the name of the codec that decompresses first; empty for uncompressed chunks."""
    return next((name for name in _decoders(list(codecs)) if name != "crc32c"), "")


def _refuse_nested(codecs: Iterable[Any]) -> None:
    """Refuse chunks, also those in shards, that are compressed several times."""
    found = list(codecs)
    names = [name for name in _decoders(found) if name in _MEASURES]
    if len(names) > 1:
        raise ValueError(f"its chunks are compressed {len(names)} times ({', '.join(names)}), expected once")
    for codec in found:
        if isinstance(codec, ShardingCodec):
            _refuse_nested(codec.codecs)


def _decoders(codecs: list[Any]) -> list[str]:
    """Return the names of the codecs that make bytes of bytes, in the order of decoding; zarr v2 calls some filters."""
    names = [codec_name(codec) for codec in reversed(codecs) if isinstance(codec, BytesBytesCodec)]
    for codec in codecs:
        parts = (getattr(codec, "compressor", None), *reversed(getattr(codec, "filters", None) or ()))
        names += [codec_name(part) for part in parts if part is not None]
    return names


def pixels_bytes(spec: Any) -> int:
    """Return the size of the pixels of a chunk in bytes."""
    return int(math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize)


def codec_name(codec: Any) -> str:
    """Return the name of a zarr or numcodecs codec as in metadata: ``blosc``, ``zstd``."""
    found = getattr(codec, "codec_id", None) or codec.to_dict().get("name", "")
    return str(found).removeprefix("numcodecs.")


register_pipeline(BoundedPipeline)
