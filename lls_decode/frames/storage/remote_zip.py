"""Access to a zip of a zarr store at an address: its directory is read once, its members by ranges of bytes.

Parts of uncompressed members, as written by zarr, can be read; compressed members are fetched completely.
"""

import asyncio
import io
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cached_property
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from lls_decode.errors import InputError
from lls_decode.frames.storage.indices import Indices
from lls_decode.frames.storage.keys import Keys, names_below
from lls_decode.frames.storage.remote import READS_AT_ONCE, RemoteKeys

_LOCAL_HEADER_BYTES = 30
_BUFFER_BYTES = 1 << 18


class RemoteZipKeys:
    """Access to a store in a remote zip; keys are names of its members, and ``whole`` reads the zip itself."""

    reads_at_once = READS_AT_ONCE

    def __init__(self, whole: RemoteKeys) -> None:
        self._whole = whole
        self._starts: dict[str, int] = {}

    @property
    def name(self) -> str:
        """Name of this store in messages."""
        return self._whole.name

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        size = self._whole.size("")
        if size is None:
            raise InputError(f"{self.name} does not exist; give the address of a zarr store.")
        try:
            with zipfile.ZipFile(io.BufferedReader(_Ranges(self._whole, size), _BUFFER_BYTES)) as archive:
                return {item.filename: item for item in archive.infolist() if not item.is_dir()}
        except zipfile.BadZipFile as error:
            raise InputError(
                f"{self.name} is not a zip file ({error}), expected a zip of a zarr store; check the address."
            ) from error

    def size(self, key: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        member = self._members.get(key)
        return None if member is None else member.file_size

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """Return ``length`` bytes from ``start``, or all remaining bytes if ``length`` is negative."""
        member = self._members.get(key)
        if member is None:
            raise FileNotFoundError(f"{self.name} has no {key}")
        stop = member.file_size if length < 0 else min(start + length, member.file_size)
        if stop <= start:
            return b""
        is_whole = (start, stop) == (0, member.file_size)
        if member.compress_type == zipfile.ZIP_STORED:
            data = self._whole.read("", self._start(member) + start, stop - start)
            return _checked(data, member) if is_whole else data
        if member.compress_type != zipfile.ZIP_DEFLATED:
            raise InputError(
                f"{self.name}: {key} uses compression method {member.compress_type}, expected none or deflate; zip the "
                "store without compression (zip -0), since its chunks are already compressed."
            )
        packed = self._whole.read("", self._start(member), member.compress_size)
        return _checked(zlib.decompress(packed, -zlib.MAX_WBITS), member)[start:stop]

    def children(self, key: str) -> list[str]:
        """Return the names of the folders directly below a key."""
        return names_below(self._members, key)

    def ancestors(self, most: int) -> Iterator[tuple[Keys, str]]:
        """Yield nothing, because a zip has no parent folders."""
        yield from ()

    def open_store(self) -> Store:
        """Return the same files as a read-only zarr store."""
        return _KeysStore(self)

    def names(self) -> list[str]:
        """Return the keys of all files."""
        return list(self._members)

    def _start(self, member: zipfile.ZipInfo) -> int:
        """Return the offset of the data of a member, after its header of variable length."""
        if member.filename not in self._starts:
            header = self._whole.read("", member.header_offset, _LOCAL_HEADER_BYTES)
            name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
            self._starts[member.filename] = member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        return self._starts[member.filename]


class _Ranges(io.RawIOBase):
    """Remote object as a seekable file."""

    def __init__(self, whole: RemoteKeys, size: int) -> None:
        self._whole, self._size, self._place = whole, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._place)
        if length <= 0:
            return 0
        buffer[:length] = self._whole.read("", self._place, length)
        self._place += length
        return length


class _KeysStore(Store):
    """Read-only zarr store for the files of a remote zip."""

    supports_writes = False
    supports_deletes = False
    supports_partial_writes = False
    supports_listing = True

    def __init__(self, keys: RemoteZipKeys) -> None:
        super().__init__(read_only=True)
        self._keys = keys
        self._indices = Indices()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _KeysStore) and self._keys is other._keys

    def __str__(self) -> str:
        return self._keys.name

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        return await self._indices.get(key, byte_range, lambda: self._fetch(key, prototype, byte_range))

    async def _fetch(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None) -> Buffer | None:
        size = await asyncio.to_thread(self._keys.size, key)
        if size is None:
            return None
        start, length = _as_range(byte_range, size)
        return prototype.buffer.from_bytes(await asyncio.to_thread(self._keys.read, key, start, length))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._keys.size, key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError

    async def set_partial_values(self, key_start_values: Iterable[tuple[str, int, bytes]]) -> None:
        raise NotImplementedError  # abstract in older versions of zarr

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    async def list(self) -> AsyncIterator[str]:
        for name in self._keys.names():
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for name in self._keys.names():
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in sorted({n[len(folder) :].split("/")[0] for n in self._keys.names() if n.startswith(folder)}):
            yield name


def _as_range(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    """Return start and length of a range requested by zarr."""
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, byte_range.end - byte_range.start
    if isinstance(byte_range, OffsetByteRequest):
        return byte_range.offset, -1
    if isinstance(byte_range, SuffixByteRequest):
        return max(0, size - byte_range.suffix), -1
    return 0, -1


def _checked(data: bytes, member: zipfile.ZipInfo) -> bytes:
    """Return the data of a member; raise an error if the checksum is wrong."""
    if zlib.crc32(data) != member.CRC:
        raise ValueError(f"the checksum of {member.filename} in the zip is wrong")
    return data
