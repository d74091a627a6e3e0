"""Chunks are looked at before they are decompressed: what they announce must be about as large as a chunk is.

A few kilobytes of blosc, Zstandard or gzip can stand for gigabytes, and a blosc header can say another length than the
chunk has, which makes its library read beyond the end. Each decoder asks `check_compressed` first.
"""

import bz2
import lzma
import math
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

Read = Callable[[int], bytes]
"""Gives the first bytes of a chunk."""

LEAST_LIMIT_BYTES: Final = 16 << 20
"""Chunks that unpack to less than this are not worth a thought."""
MOST_TIMES: Final = 2
"""How much larger than its pixels a chunk may unpack: a filter may store numbers of 4 bytes as numbers of 8."""
_DEFLATE_RATIO: Final = 1032
"""By how much gzip and zlib can shrink data at most."""
_PIECE_BYTES: Final = 1 << 20
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER_BYTES: Final = 18
_ZSTD_BLOCK_BYTES: Final = 128 << 10
"""To which one block of Zstandard unpacks at most."""


def check_compressed(kind: str, length: int, read: Callable[[int], bytes], pixels_bytes: int) -> None:
    """Refuse a compressed chunk that unpacks to far more than its pixels, or whose header contradicts its length.

    Parameters
    ----------
    kind
        Name of the codec: ``blosc``, ``zstd``, ``gzip``, ``zlib``, ``lz4``, ``bz2``, ``lzma``; others are not checked.
    length
        Bytes of the chunk.
    read
        Gives the first bytes of the chunk; not called where so short a chunk can only be harmless.
    pixels_bytes
        What the chunk's pixels take.

    Raises
    ------
    ValueError
        Says to what it unpacks.
    """
    limit = max(MOST_TIMES * pixels_bytes, LEAST_LIMIT_BYTES)
    measure = _MEASURES.get(kind)
    found = measure(length, read, limit) if measure is not None else 0
    if found > limit:
        raise ValueError(f"it unpacks to {found} bytes or more, expected {pixels_bytes}")


def _blosc(length: int, read: Read, limit: int) -> int:
    head = read(16)
    if len(head) < 16:
        raise ValueError("its blosc header is truncated")
    size, _, compressed = struct.unpack_from("<III", head, 4)
    if compressed != length:
        raise ValueError(f"its blosc header says {compressed} bytes, and it has {length}")
    return int(size)


def _lz4(length: int, read: Read, limit: int) -> int:
    return int.from_bytes(read(4), "little")


def _zstd(length: int, read: Read, limit: int) -> int:
    """The announced size, else that of the blocks at most."""
    data = read(_ZSTD_HEADER_BYTES)
    if data[:4] != _ZSTD_MAGIC or len(data) < 6:
        return 0  # its decoder says so
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
    """Unpack gzip or zlib piece by piece, and keep nothing; only where the length allows for too much."""
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
    except (zlib.error, OSError, EOFError, lzma.LZMAError):  # damaged, as its decoder says
        return 0
    return found


_MEASURES: Final[Mapping[str, Any]] = {
    "blosc": _blosc, "zstd": _zstd, "gzip": _deflated, "zlib": _deflated, "lz4": _lz4, "bz2": _bz2, "lzma": _lzma,
}  # fmt: skip


class BoundedPipeline(BatchedCodecPipeline):
    """zarr's own decoders, which look at each chunk before they unpack it."""

    async def decode_batch(self, chunk_bytes_and_specs: Iterable[tuple[Any, Any]]) -> Iterable[Any]:
        """Decode chunks, after each was looked at."""
        chunks, kind = list(chunk_bytes_and_specs), outermost(self)
        for data, spec in chunks if kind else ():
            if data is not None:
                whole = data.as_numpy_array().view("u1")
                check_compressed(kind, len(whole), partial(_first_bytes, whole), pixels_bytes(spec))
        return await super().decode_batch(chunks)

    @classmethod
    def from_codecs(cls, codecs: Iterable[Any], *, batch_size: int | None = None) -> Self:
        """Make the pipeline; the chunks in shards are looked at as well."""
        return super().from_codecs([_bounded(codec) for codec in codecs], batch_size=batch_size)


def _first_bytes(data: npt.NDArray[np.uint8], most: int) -> bytes:
    return data[:most].tobytes()


class _BoundedShards(ShardingCodec):
    """Shards whose chunks are looked at before they are unpacked."""

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


def outermost(codecs: Iterable[Any]) -> str:
    """Name of the codec that unpacks first; empty for plain chunks."""
    found = list(codecs)
    names = [codec_name(codec) for codec in reversed(found) if isinstance(codec, BytesBytesCodec)]
    names += [codec_name(codec.compressor) for codec in found if getattr(codec, "compressor", None) is not None]
    return next((name for name in names if name != "crc32c"), "")


def pixels_bytes(spec: Any) -> int:
    """Bytes of the pixels of a chunk."""
    return int(math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize)


def codec_name(codec: Any) -> str:
    """Name of a codec of zarr or numcodecs, as in metadata: ``blosc``, ``zstd``."""
    found = getattr(codec, "codec_id", None) or codec.to_dict().get("name", "")
    return str(found).removeprefix("numcodecs.")


register_pipeline(BoundedPipeline)
