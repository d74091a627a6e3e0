"""Neuroglancer's sharded key-value stores: many small values in few files, each with its own index.

Keys are 64-bit numbers. The lowest ``preshift_bits`` bits do not affect where a value is stored; the next
``minishard_bits`` bits choose one of the indexes of a file, and the ``shard_bits`` above them choose the file. Keys are
not hashed (hash ``identity``), so values that arrive in key order can be written one after another.
"""

import gzip
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_SHARD_BYTES: Final = 1 << 27
"""Approximate size of a file."""
_INDEX_ENTRY_BYTES: Final = 16


@dataclass(frozen=True)
class Sharding:
    """Division of a key's bits that determines where its value is stored."""

    preshift_bits: int
    minishard_bits: int
    shard_bits: int

    @classmethod
    def of(cls, *, key_bits: int, num_bytes: float, preshift_bits: int) -> Self:
        """Return a sharding for keys below ``2**key_bits``, whose values have ``num_bytes`` in total."""
        preshift = min(preshift_bits, key_bits)
        files = max(0, int(np.ceil(np.log2(max(num_bytes, 1) / _SHARD_BYTES))))
        shard = min(files, key_bits - preshift)
        return cls(preshift, key_bits - preshift - shard, shard)

    def to_json(self) -> dict[str, Any]:
        """Return the entry in the ``info`` file."""
        return {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "identity",
            "preshift_bits": self.preshift_bits,
            "minishard_bits": self.minishard_bits,
            "shard_bits": self.shard_bits,
            "minishard_index_encoding": "gzip",
            "data_encoding": "raw",
        }

    def file_name(self, shard: int) -> str:
        """Return the file name of a shard."""
        return f"{shard:0{-(-self.shard_bits // 4)}x}.shard"


class ShardWriter:
    """Writer of values whose keys ascend."""

    def __init__(self, folder: Path, sharding: Sharding) -> None:
        self._folder, self._sharding = folder, sharding
        self._shard = -1
        self._file: BinaryIO | None = None
        self._keys: list[Integers] = []
        self._sizes: list[Integers] = []
        folder.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        elif self._file is not None:
            self._file.close()

    def add(self, keys: Integers, sizes: Integers, values: bytes | memoryview) -> None:
        """Write values one after another.

        Parameters
        ----------
        keys
            Ascending keys, greater than all that were added before.
        sizes
            Size of each value in bytes.
        values
            The values, concatenated.
        """
        shard = keys >> (self._sharding.preshift_bits + self._sharding.minishard_bits)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        edges = [0, *(np.flatnonzero(np.diff(shard)) + 1).tolist(), len(keys)]
        for first, stop in itertools.pairwise(edges):
            if stop > first:
                file = self._of_shard(int(shard[first]))
                file.write(memoryview(values)[int(ends[first]) : int(ends[stop])])
                self._keys.append(keys[first:stop])
                self._sizes.append(sizes[first:stop])

    def _of_shard(self, shard: int) -> BinaryIO:
        if shard != self._shard or self._file is None:
            self._finish()
            self._shard = shard
            self._file = (self._folder / self._sharding.file_name(shard)).open("wb")
            self._file.write(bytes(_INDEX_ENTRY_BYTES << self._sharding.minishard_bits))
        return self._file

    def _finish(self) -> None:
        """Write the indexes of the open file, and close it."""
        if self._file is None:
            return
        with self._file as file:
            file_index, indexes = self._indexes(np.concatenate(self._keys), np.concatenate(self._sizes))
            file.write(b"".join(indexes))
            file.seek(0)
            file.write(file_index)
        self._file, self._keys, self._sizes = None, [], []

    def _indexes(self, keys: Integers, sizes: Integers) -> tuple[bytes, Sequence[bytes]]:
        """Return the positions of the indexes, and the indexes. Offsets count from the end of the positions."""
        num = 1 << self._sharding.minishard_bits
        minishard = (keys >> self._sharding.preshift_bits) & (num - 1)
        ends = np.cumsum(sizes)
        where = np.zeros((num, 2), dtype="<u8")
        place, indexes = int(ends[-1]), []
        edges = [0, *(np.flatnonzero(np.diff(minishard)) + 1).tolist(), len(keys)]
        for first, stop in itertools.pairwise(edges):
            entries = np.zeros((3, stop - first), dtype="<u8")
            entries[0] = np.diff(keys[first:stop], prepend=0)
            entries[1, 0] = ends[first] - sizes[first]  # each other value begins where the one before ends
            entries[2] = sizes[first:stop]
            indexes.append(gzip.compress(entries.tobytes(), compresslevel=6, mtime=0))
            where[minishard[first]] = place, place + len(indexes[-1])
            place += len(indexes[-1])
        return where.tobytes(), indexes
