"""Rust codecs of ``zarrs``, with a check of each chunk of a local store (`bounded`). This module imports ``zarrs``."""

import asyncio
import os
import struct
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Self

from zarr.codecs import ShardingCodec
from zarr.registry import register_pipeline
from zarrs.pipeline import ZarrsCodecPipeline, array_metadata_to_codecs

from lls_decode.frames.storage.bounded import (
    BoundedPipeline,
    check_compressed,
    check_files,
    codec_name,
    has_shards,
    outermost,
    pixels_bytes,
)

_ABSENT = 2**64 - 1


class BoundedFastPipeline(ZarrsCodecPipeline):
    """Codec pipeline of ``zarrs`` that reads chunks only if their decompressed size is as expected."""

    @classmethod
    def from_array_metadata_and_store(cls, array_metadata: Any, store: Any) -> Self:
        """Make the pipeline of an array; arrays that ``zarrs`` does not support use zarr's bounded codecs."""
        found: Self = super().from_array_metadata_and_store(array_metadata, store)
        found.python_impl = BoundedPipeline.from_codecs(array_metadata_to_codecs(array_metadata))
        return found

    async def read(self, batch_info: Iterable[Any], out: Any, drop_axes: tuple[int, ...] = ()) -> None:
        """Check the files of the chunks, then read them."""
        chunks = list(batch_info)
        if self.impl is not None:
            await asyncio.to_thread(self._look, chunks)
        await super().read(chunks, out, drop_axes)

    def _look(self, chunks: list[Any]) -> None:
        codecs = array_metadata_to_codecs(self.metadata)
        check_files(chunks, sharded=has_shards(codecs))
        shards = next((codec for codec in codecs if isinstance(codec, ShardingCodec)), None)
        kind = outermost(codecs if shards is None else shards.codecs)
        if not kind:
            return
        for getter, spec, *_ in chunks:
            try:
                file = os.open(getter.store.root / getter.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError:  # absent or unreadable: zarr reports it
                continue
            try:
                size = os.fstat(file).st_size
                full = pixels_bytes(spec)
                places = iter([(0, size)])
                if shards is not None:
                    number = _count(spec.shape, shards.chunk_shape)
                    full //= number
                    places = _places(file, size, number, shards)
                for start, length in places:
                    check_compressed(kind, length, partial(_first_bytes, file, start), full)
            finally:
                os.close(file)


def _first_bytes(file: int, start: int, most: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    return os.read(file, most)


def _count(shape: Iterable[int], chunk: Iterable[int]) -> int:
    """Return the number of chunks in a shard."""
    number = 1
    for length, size in zip(shape, chunk, strict=True):
        number *= length // size
    return max(number, 1)


def _places(file: int, size: int, number: int, shards: ShardingCodec) -> Iterator[tuple[int, int]]:
    """Yield offset and length of the chunks in a shard; nothing if its index has an unusual encoding."""
    names = [codec_name(codec) for codec in shards.index_codecs]
    if names not in (["bytes"], ["bytes", "crc32c"]) or "big" in str(shards.index_codecs[0].to_dict()):
        return
    index_bytes = 16 * number + 4 * (len(names) - 1)
    at = size - index_bytes if "end" in str(shards.index_location) else 0
    if at < 0:
        return
    for start, length in struct.iter_unpack("<QQ", _first_bytes(file, at, 16 * number)):
        if start != _ABSENT and start + length <= size:
            yield start, length


register_pipeline(BoundedFastPipeline)
