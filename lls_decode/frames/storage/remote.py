"""Access to the files of a remote zarr store by key (see `keys` for local stores), and the same store for zarr."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from lls_decode.addresses import Address, parse_address
from lls_decode.config import StorageConfig
from lls_decode.documents import parse_json
from lls_decode.errors import AccessError, InputError, StorageError
from lls_decode.frames.storage.client import Client, connect
from lls_decode.frames.storage.indices import Indices
from lls_decode.frames.storage.keys import METADATA, Keys, join

if TYPE_CHECKING:  # generic only in recent versions of zarr
    _ObjectStore = ObjectStore[Any]
else:
    _ObjectStore = ObjectStore

READS_AT_ONCE = 16
"""Number of chunks of a shard that are requested at the same time."""
_MOST_SERIES = 10_000


class RemoteKeys:
    """Access to a store at an address; keys are names below it, and metadata are cached."""

    reads_at_once = READS_AT_ONCE

    def __init__(self, address: Address, storage: StorageConfig) -> None:
        self.address = address
        self._storage = storage
        self._client = connect(Address(address.scheme, address.host, ""), storage)
        self._documents: dict[str, bytes | None] = {}
        self.denied: AccessError | None = None
        """Error from metadata that were denied, so that it is unknown whether they exist."""

    @property
    def name(self) -> str:
        """Name of this store in messages."""
        return str(self.address)

    def size(self, key: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        if _is_metadata(key):
            document = self._document(key)
            return None if document is None else len(document)
        return self._client.size(join(self.address.path, key))

    def read(self, key: str, start: int = 0, length: int = -1) -> bytes:
        """Return ``length`` bytes from ``start``, or all remaining bytes if ``length`` is negative."""
        if _is_metadata(key):
            data = self._document(key)
        else:
            data = self._client.get(join(self.address.path, key), start, length)
        if data is None:
            raise FileNotFoundError(f"{self.name}/{key} does not exist")
        return data

    def children(self, key: str) -> list[str]:
        """Return the names of the folders directly below a key, from the metadata if the store cannot be listed."""
        if self._client.can_list:
            return sorted(self._client.list(join(self.address.path, key))[0])
        declared = self._declared_children(key)
        if declared is None:
            raise StorageError(
                f"{self.name} cannot be listed over HTTP and has no consolidated metadata; give the path of the array "
                "with --array, or consolidate the metadata of the store (zarr.consolidate_metadata)."
            )
        return declared

    def ancestors(self, most: int) -> Iterator[tuple[Keys, str]]:
        """Yield the folders above the store, nearest first, with the path of the store in each."""
        parts = self.address.path.split("/")
        for cut in range(len(parts) - 1, max(len(parts) - 1 - most, 0), -1):
            above = Address(self.address.scheme, self.address.host, "/".join(parts[:cut]))
            yield remote_keys(str(above), self._storage), "/".join(parts[cut:])

    def open_store(self) -> Store:
        """Return the same files as a read-only zarr store."""
        return RemoteStore(self._client, self.address.path)

    def is_store(self) -> bool:
        """Return whether there is an array or group at the address.

        Raises
        ------
        AccessError
            Access to its metadata is denied, so that this is unknown.
        """
        if any(self.size(name) is not None for name in METADATA):
            return True
        if self.denied is not None:
            raise self.denied
        return False

    def _document(self, key: str) -> bytes | None:
        """Return a metadata document, or None; a denied one counts as absent, because S3 may deny absent ones, too."""
        if key not in self._documents:
            try:
                self._documents[key] = self._client.get(join(self.address.path, key))
            except AccessError as error:
                self._documents[key], self.denied = None, error
        return self._documents[key]

    def _declared_children(self, key: str) -> list[str] | None:
        """Return the children named by consolidated metadata or by the series of bioformats2raw; None if unknown."""
        if self._consolidated is not None:
            prefix = f"{key}/" if key else ""
            inside = {path[len(prefix) :] for path in self._consolidated if path.startswith(prefix)}
            return sorted({path.split("/")[0] for path in inside if path})
        for group, attributes in ((key, self._attributes(key)), (join(key, "OME"), self._attributes(join(key, "OME")))):
            if "series" in attributes and group != key:
                return [str(name) for name in attributes["series"]]
        if "bioformats2raw.layout" in self._attributes(key):
            return [str(n) for n in self._count_series(key)]
        return None

    @cached_property
    def _consolidated(self) -> list[str] | None:
        """Paths of all nodes in the consolidated metadata of zarr v3 or v2; None if there are no such metadata."""
        found = self._json("zarr.json").get("consolidated_metadata")
        if isinstance(found, dict):
            return list(found.get("metadata") or {})
        metadata = self._json(".zmetadata").get("metadata")
        if isinstance(metadata, dict):
            return [name.rpartition("/")[0] for name in metadata if name.endswith((".zarray", ".zgroup"))]
        return None

    def _count_series(self, key: str) -> Iterator[int]:
        for number in range(_MOST_SERIES):
            if all(self.size(join(key, str(number), name)) is None for name in METADATA):
                return
            yield number

    def _attributes(self, path: str) -> dict[str, Any]:
        v3 = self._json(join(path, "zarr.json")).get("attributes") or {}
        return {**v3, **(v3.get("ome") or {})} if v3 else self._json(join(path, ".zattrs"))

    def _json(self, key: str) -> dict[str, Any]:
        try:
            found = parse_json(self._document(key) or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class RemoteStore(_ObjectStore):
    """Read-only zarr store for the objects below a prefix, with the retries and error messages of `Client`.

    Chunks of a shard are read separately (see `reading.pixels`), so the index of the shard is cached for a while.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        super().__init__(client.store, read_only=True)
        self._client, self._prefix = client, prefix
        self._indices = Indices()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and (self._client, self._prefix) == (other._client, other._prefix)

    def __str__(self) -> str:
        return f"{self._client.root}/{self._prefix}"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return the bytes of a file, or a range of them; None if it does not exist."""
        return await self._indices.get(key, byte_range, lambda: self._fetch(key, prototype, byte_range))

    async def _fetch(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None) -> Buffer | None:
        whole = join(self._prefix, key)
        fetch = super().get
        try:
            return await self._client.ask(lambda: fetch(whole, prototype, byte_range), whole)
        except AccessError:
            if _is_metadata(key):  # see `RemoteKeys._document`
                return None
            raise

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return ranges of bytes from several files."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether a file exists."""
        whole = join(self._prefix, key)
        fetch = super().exists
        return await self._client.ask(lambda: fetch(whole), whole)

    @property
    def supports_listing(self) -> bool:
        """Return False: arrays are opened by their path, and nothing is listed."""
        return False


@lru_cache(maxsize=4096)
def remote_keys(address: str, storage: StorageConfig) -> RemoteKeys:
    """Return access to the files below an address; it is cached per process, with the metadata fetched so far."""
    return RemoteKeys(parse_address(address), storage)


def forget_remote() -> None:
    """Clear the caches, so that metadata are fetched and credentials are searched again."""
    remote_keys.cache_clear()
    connect.cache_clear()


def is_zip(address: str) -> bool:
    """Return whether an address is treated as that of a zip."""
    return address.lower().endswith(".zip")


def is_remote_store(address: str, storage: StorageConfig) -> bool:
    """Return whether there is a zarr array, a zarr group or a zip at an address."""
    keys = remote_keys(address, storage)
    return keys.size("") is not None if is_zip(address) else keys.is_store()


def find_entries(address: str, storage: StorageConfig) -> list[str]:
    """Return the addresses that match a pattern, or those directly in a folder, without hidden ones.

    Folders and zips are returned; other objects cannot be stores.

    Raises
    ------
    InputError
        The address is on a web server, which cannot be listed.
    """
    place = parse_address(address)
    parts = place.path.split("/")
    fixed = next((i for i, part in enumerate(parts) if has_wildcard(part)), len(parts))
    folders = [Address(place.scheme, place.host, "/".join(parts[:fixed]))]
    for pattern in parts[fixed:] or ["*"]:
        folders = [found for folder in folders for found in _matches(folder, pattern, storage)]
    return sorted({str(folder) for folder in folders})


def _matches(folder: Address, pattern: str, storage: StorageConfig) -> Iterator[Address]:
    """Yield the entries of a folder that match one part of a pattern.

    ``**`` matches the folder itself and all folders below it, except hidden ones and those named like stores.
    """
    if pattern == "**":
        yield folder
    for name in _names_in(folder, storage):
        below = Address(folder.scheme, folder.host, join(folder.path, name))
        if pattern == "**":
            if not name.endswith(".zarr") and not is_zip(name) and not name.startswith("."):
                yield from _matches(below, pattern, storage)
        elif fnmatchcase(name, pattern) and (not name.startswith(".") or pattern.startswith(".")):
            yield below


def has_wildcard(part: str) -> bool:
    """Return whether a part of a path is a pattern."""
    return any(sign in part for sign in "*?[")


def _names_in(folder: Address, storage: StorageConfig) -> list[str]:
    """Return the names of the folders and zips directly in a folder; nothing if the folder is a store."""
    client = connect(Address(folder.scheme, folder.host, ""), storage)
    if not client.can_list:
        raise InputError(
            f"{folder}: folders cannot be listed over HTTP; give the address of one zarr store, or list the stores in "
            "a .yaml or .csv for 'lls-decode batch'."
        )
    folders, objects = client.list(folder.path)
    if any(name in METADATA for name in objects):
        return []
    return [*folders, *(name for name in objects if is_zip(name))]


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in (*METADATA, ".zmetadata")
