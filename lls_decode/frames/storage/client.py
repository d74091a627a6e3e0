"""A bucket, or a web server, of which objects are asked: with patience where that helps, in words where it does not.

One client per bucket and process keeps the connections. The library (`obstore`, extra ``remote``) repeats a request
twice at once; what fails then is repeated here, and said in the log, since a server may need minutes to restart.
"""

import asyncio
import importlib.util
import logging
import math
import netrc
import os
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from lls_decode.addresses import Address
from lls_decode.config import StorageConfig
from lls_decode.errors import AccessError, StorageError
from lls_decode.frames.storage.failures import explain, no_credentials

if TYPE_CHECKING:
    from obstore.store import ClientConfig, HTTPStore, ObjectStore, RetryConfig, S3Store

T = TypeVar("T")

PATIENCE_S = 180.0
"""How long a request is repeated to a server that has answered before."""
FIRST_PATIENCE_S = 20.0
"""How long it is repeated to one that has never answered this process."""
_LONGEST_PAUSE_S = 10.0
_BETWEEN_TROUBLES_S = 20.0
"""A failure so long after the latest one is a new trouble, and said."""

logger = logging.getLogger(__name__)


class Client:
    """Objects of one bucket or web server. Threads may share it."""

    def __init__(self, store: "ObjectStore", root: str, *, anonymous: bool) -> None:
        self.store = store
        """The library's store; keys are whole, from the bucket or the server's root."""
        self.root = root
        self.anonymous = anonymous
        self.has_answered = False
        self._trouble_at = -math.inf

    @property
    def can_list(self) -> bool:
        """Whether objects can be listed; web servers have no common way to."""
        return not self.root.startswith("http")

    def size(self, key: str) -> int | None:
        """Bytes of an object, None when there is none."""
        import obstore

        return self._ask(lambda: int(obstore.head(self.store, key)["size"]), key)

    def get(self, key: str, start: int = 0, length: int = -1) -> bytes | None:
        """Bytes of an object, or ``length`` of them from ``start`` (all that follow when negative); None: no object."""
        import obstore

        def fetch() -> bytes:
            if length >= 0:
                return bytes(obstore.get_range(self.store, key, start=start, length=length)) if length else b""
            options: Any = {"range": {"offset": start}} if start else {}
            return bytes(obstore.get(self.store, key, options=options).bytes())

        return self._ask(fetch, key)

    def list(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders, and of the objects, directly below a folder."""
        import obstore

        prefix = f"{folder}/" if folder else ""

        def fetch() -> tuple[list[str], list[str]]:
            found = obstore.list_with_delimiter(self.store, prefix)
            folders = [name.strip("/") for name in found["common_prefixes"]]
            objects = [item["path"] for item in found["objects"]]
            return [n[len(prefix) :] for n in folders], [n[len(prefix) :] for n in objects if n != folder]

        return self._ask(fetch, folder) or ([], [])

    async def ask(self, question: Callable[[], Awaitable[T]], key: str) -> T:
        """Await the answer to a request, repeated while that may help."""
        attempts = _Attempts(self, key)
        while True:
            try:
                answer = await question()
            except Exception as error:
                await asyncio.sleep(attempts.pause_s(error))
            else:
                self.has_answered = True
                return answer

    def is_first_trouble(self) -> bool:
        """Whether a failure is worth a warning: of many requests that fail at once, one is."""
        before, self._trouble_at = self._trouble_at, time.monotonic()
        return self._trouble_at - before > _LONGEST_PAUSE_S + _BETWEEN_TROUBLES_S

    def _ask(self, question: Callable[[], T], key: str) -> T | None:
        """Ask and wait; None when there is no such object."""
        attempts = _Attempts(self, key)
        while True:
            try:
                answer = question()
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise explain(error, f"{self.root}/{key}", anonymous=self.anonymous).error from None
                self.has_answered = True
                return None
            except Exception as error:
                time.sleep(attempts.pause_s(error))
            else:
                self.has_answered = True
                return answer


class _Attempts:
    """One request, as often as it is repeated."""

    def __init__(self, client: Client, key: str) -> None:
        self._client, self._where = client, f"{client.root}/{key}"
        self._began = time.monotonic()
        self._number = 0

    def pause_s(self, error: Exception) -> float:
        """How long to wait before the next attempt; raises what went wrong when there should be none."""
        failure = explain(error, self._where, anonymous=self._client.anonymous)
        patience_s = PATIENCE_S if self._client.has_answered else FIRST_PATIENCE_S
        left = self._began + patience_s - time.monotonic()
        if not failure.transient or left <= 0:
            raise failure.error from None
        if self._client.is_first_trouble():
            logger.warning("%s (repeated for up to %.0f s)", str(failure.error).rstrip("."), patience_s)
        self._number += 1
        return min(0.25 * 2.0**self._number, _LONGEST_PAUSE_S, left)


@lru_cache(maxsize=32)
def connect(root: Address, storage: StorageConfig) -> Client:
    """Make ready to ask a bucket or web server; nothing is sent yet.

    Raises
    ------
    StorageError
        The client library is not installed.
    AccessError
        There are no credentials.
    """
    if importlib.util.find_spec("obstore") is None:
        raise StorageError(
            f"{root} is a remote store, and the package obstore, which reads such stores, is not installed; install it "
            "with pip install 'lls-decode[remote]', or copy the dataset to a file system."
        )
    store = {"s3": _s3, "gs": _gs, "https": _web, "http": _web}[root.scheme](root, storage)
    return Client(store, root.root, anonymous=storage.anonymous)


def _s3(root: Address, storage: StorageConfig) -> "S3Store":
    from obstore.store import S3Store

    endpoint = storage.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    anonymous = storage.anonymous or os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true")
    config: Any = {"skip_signature": True} if anonymous else {}
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    if storage.region:
        config["region"] = storage.region
    provider = None
    if not anonymous and "AWS_ACCESS_KEY_ID" not in os.environ:
        provider = _aws_credentials(root)
    return S3Store(
        root.host,
        config=config,
        credential_provider=provider,
        client_options=_client_options(endpoint or "https://"),
        retry_config=_retries(),
    )


def _aws_credentials(root: Address) -> Any:
    """Credentials of a profile, a web identity, a container or a machine, as the AWS tools find them."""
    if importlib.util.find_spec("boto3") is None:
        return None  # the library itself knows those of containers and machines
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except ValueError:
        raise AccessError(no_credentials(str(root))) from None


def _gs(root: Address, storage: StorageConfig) -> Any:
    from obstore.store import GCSStore

    config: Any = {"skip_signature": True} if storage.anonymous else {}
    if storage.endpoint:
        config["base_url"] = storage.endpoint.rstrip("/")
    options = _client_options(storage.endpoint or "https://")
    return GCSStore(root.host, config=config, client_options=options, retry_config=_retries())


def _web(root: Address, storage: StorageConfig) -> "HTTPStore":
    from obstore.store import HTTPStore

    options = _client_options(root.root)
    try:
        known = None if storage.anonymous else netrc.netrc().authenticators(root.host.partition(":")[0])
    except (OSError, netrc.NetrcParseError):
        known = None
    if known:
        token = b64encode(f"{known[0]}:{known[2]}".encode()).decode()
        options["default_headers"] = {"Authorization": f"Basic {token}"}
    return HTTPStore(root.root, client_options=options, retry_config=_retries())


def _client_options(endpoint: str) -> "ClientConfig":
    """A connection that stalls is given up; a long answer is not."""
    return {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=10),
        "read_timeout": timedelta(seconds=30),
        "timeout": timedelta(hours=1),
    }


def _retries() -> "RetryConfig":
    backoff: Any = {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=1),
        "base": 2,
    }
    return {"max_retries": 2, "retry_timeout": timedelta(minutes=1), "backoff": backoff}
