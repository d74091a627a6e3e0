r"""Parse addresses of remote stores, and refuse addresses that contain secrets.

``s3://BUCKET/KEY``, ``gs://BUCKET/KEY`` and ``https://HOST/PATH`` name remote stores, ``file:///PATH`` a local store.
Addresses are written into run records, tables, logs and figures, so an address with a secret is refused at once.
A scheme has at least two letters: ``C:/data``, ``C:\data`` and ``\\server\share`` are Windows paths.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import unquote, urlsplit

from lls_decode.errors import InputError, OutputError

SCHEMES = ("s3", "gs", "https", "http")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Address that was converted to a `Path`, which replaces two slashes by one."""
_DRIVE = re.compile(r"/[A-Za-z]:(/|$)")
_NO_PORT = re.compile(r"^([^/:\[]*):(?!\d+(?:/|$))[^/]*")
_WEB_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:@\[\]]+)(:\d+)?")
_BUCKET = re.compile(r"[^:@]+")
_QUERY = re.compile(r"\?[^/=]*=")


@dataclass(frozen=True)
class Address:
    """Address of a remote store, or of a folder of remote stores."""

    scheme: str
    host: str
    """Name of the bucket, or host name and port."""
    path: str
    """Key inside the bucket, or decoded path on the host; without slashes at the ends."""

    @property
    def root(self) -> str:
        """Address of the bucket or host."""
        return f"{self.scheme}://{self.host}"

    def __str__(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root


def is_address(path: str | PurePath) -> bool:
    """Return whether a text is an address rather than a file system path."""
    return _ADDRESS.match(str(path)) is not None


def resolve_dataset(path: str | PurePath, *, windows: bool = sys.platform == "win32") -> str:
    """Return the path of a dataset, or its address if it contains no secret; convert ``file://`` to a path.

    Parameters
    ----------
    windows
        Whether to read ``file:///C:/PATH`` as a drive, and ``file://SERVER/SHARE/PATH`` as a network share.

    Raises
    ------
    InputError
        The address is of an unknown kind, or contains a user name, a password or a signature.
    """
    text = str(path)
    match = _ADDRESS.match(text)
    if match is None:
        return text
    if match[1].lower() != "file":
        return str(parse_address(text))
    parts = urlsplit(text)
    found = unquote(parts.path)
    if windows and _DRIVE.match(found):
        return found[1:]
    if windows and parts.netloc not in ("", "localhost"):
        return f"//{parts.netloc}{found}"
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{redact(text)} names the host {parts.netloc}; write file:///PATH with three slashes.")
    return found


def parse_address(text: str) -> Address:
    """Parse an address.

    Raises
    ------
    InputError
        As for `resolve_dataset`.
    """
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    is_web = scheme in ("http", "https")
    host, _, path = rest.partition("/")
    if scheme not in SCHEMES:
        raise InputError(
            f"{redact(text)} is an address of an unknown kind, {scheme!r}; expected s3://, gs://, https://, http:// or "
            "file://, or a path."
        )
    known_host = _WEB_HOST if is_web else _BUCKET
    if host and not known_host.fullmatch(re.split("[?#]", host)[0]):
        raise InputError(
            f"{redact(text)}: the address contains a user name, a password or a wrong port, and addresses are written "
            "into records; omit them and give credentials in the environment (for HTTP in ~/.netrc)."
        )
    if (is_web and ("?" in rest or "#" in rest)) or _QUERY.search(rest):
        raise InputError(
            f"{redact(text)}: the address has a query (after '?'), which may be a signature, and addresses are written "
            "into records; give the address without it, and credentials in the environment."
        )
    if not host:
        raise InputError(f"{text} names no {'host' if is_web else 'bucket'}; expected {scheme}://NAME/PATH.")
    return Address(scheme, host, (unquote(path) if is_web else path).strip("/"))


def redact(text: str) -> str:
    """Return an address without user name, password and query, for messages."""
    scheme, separator, rest = text.partition("://")
    rest = re.split("[?#]", rest.rpartition("@")[2])[0]
    return scheme + separator + _NO_PORT.sub(r"\1", rest)


def refuse_remote_output(path: str | PurePath) -> None:
    """Refuse to write results to an address.

    Raises
    ------
    OutputError
        The path is an address.
    """
    given = path.as_posix() if isinstance(path, PurePath) else path  # a `Path` on Windows has backslashes
    if _COLLAPSED.match(given):
        text = re.sub(r":/+", "://", redact(given), count=1)
        raise OutputError(
            f"{text} is an address, but results can be written to a file system only; give a folder, and copy it "
            "afterwards."
        )
