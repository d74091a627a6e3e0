"""Client for the objects of a bucket or web server, with retries of transient failures and clear error messages.

Each process has one client per bucket, which keeps the connections. The library (`obstore`, extra ``remote``) retries a
request twice immediately. Requests that still fail are retried here for longer, with a warning in the log, since a
server may need minutes to restart.
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
"""Time for which a request is retried if the server has answered this process before."""
FIRST_PATIENCE_S = 20.0
"""Time for which a request is retried if the server has never answered this process."""
_LONGEST_PAUSE_S = 10.0
_BETWEEN_TROUBLES_S = 20.0
"""Time since the previous failure after which a failure is logged again."""

logger = logging.getLogger(__name__)


class Client:
    """Thread-safe client for the objects of one bucket or web server."""

    def __init__(self, store: "ObjectStore", root: str, *, anonymous: bool) -> None:
        self.store = store
        """Store object of the library; keys are relative to the bucket or the root of the server."""
        self.root = root
        self.anonymous = anonymous
        self.has_answered = False
        self._trouble_at = -math.inf

    @property
    def can_list(self) -> bool:
        """Whether objects can be listed; there is no standard way for web servers."""
        return not self.root.startswith("http")

    def size(self, key: str) -> int | None:
        """Return the size of an object in bytes; None if it does not exist."""
        import obstore

        return self._ask(lambda: int(obstore.head(self.store, key)["size"]), key)

    def get(self, key: str, start: int = 0, length: int = -1) -> bytes | None:
        """Return ``length`` bytes of an object from ``start``; None if the object does not exist.

        A negative ``length`` means all remaining bytes.
        """
        import obstore

        def fetch() -> bytes:
            if length >= 0:
                return bytes(obstore.get_range(self.store, key, start=start, length=length)) if length else b""
            options: Any = {"range": {"offset": start}} if start else {}
            return bytes(obstore.get(self.store, key, options=options).bytes())

        return self._ask(fetch, key)

    def list(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of the folders, and of the objects, directly below a folder."""
        import obstore

        prefix = f"{folder}/" if folder else ""

        def fetch() -> tuple[list[str], list[str]]:
            found = obstore.list_with_delimiter(self.store, prefix)
            folders = [name.strip("/") for name in found["common_prefixes"]]
            objects = [item["path"] for item in found["objects"]]
            return [n[len(prefix) :] for n in folders], [n[len(prefix) :] for n in objects if n != folder]

        return self._ask(fetch, folder) or ([], [])

    async def ask(self, question: Callable[[], Awaitable[T]], key: str) -> T:
        """Await the answer to a request, with retries of transient failures."""
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
        """Return whether to log a failure: if many requests fail at the same time, only the first is logged."""
        before, self._trouble_at = self._trouble_at, time.monotonic()
        return self._trouble_at - before > _LONGEST_PAUSE_S + _BETWEEN_TROUBLES_S

    def _ask(self, question: Callable[[], T], key: str) -> T | None:
        """Send a request, with retries of transient failures; return None if the object does not exist."""
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
    """State of the retries of one request."""

    def __init__(self, client: Client, key: str) -> None:
        self._client, self._where = client, f"{client.root}/{key}"
        self._began = time.monotonic()
        self._number = 0

    def pause_s(self, error: Exception) -> float:
        """Return the time to wait before the next attempt; raise the error if there should be no further attempt."""
        failure = explain(error, self._where, anonymous=self._client.anonymous)
        patience_s = PATIENCE_S if self._client.has_answered else FIRST_PATIENCE_S
        left = self._began + patience_s - time.monotonic()
        if not failure.transient or left <= 0:
            raise failure.error from None
        if self._client.is_first_trouble():
            logger.warning("%s (retrying for up to %.0f s)", str(failure.error).rstrip("."), patience_s)
        self._number += 1
        return min(0.25 * 2.0**self._number, _LONGEST_PAUSE_S, left)


@lru_cache(maxsize=32)
def connect(root: Address, storage: StorageConfig) -> Client:
    """Create the client of a bucket or web server, without sending a request.

    Raises
    ------
    StorageError
        The client library is not installed.
    AccessError
        No credentials were found.
    """
    if importlib.util.find_spec("obstore") is None:
        raise StorageError(
            f"{root} is a remote store, which needs the package obstore, but obstore is not installed; install it with "
            "pip install 'lls-decode[remote]', or copy the dataset to a file system."
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
    """Find credentials like the AWS tools: of a profile, a web identity, a container or a machine."""
    if importlib.util.find_spec("boto3") is None:
        return None  # obstore itself finds credentials of containers and machines
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
    """Return connection options that abort stalled connections but allow long transfers."""
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
