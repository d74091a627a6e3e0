"""Explanation of failures of remote stores in one sentence, and whether a retry may succeed.

The client library distinguishes failures only by exception class and text. This module contains all code that depends
on these texts.
"""

import re
from dataclasses import dataclass

from lls_decode.errors import AccessError, StorageError

_STATUS = re.compile(r"status code: (\d{3})")
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_TRANSIENT = ("error sending request", "response body error", "error decoding response body", "operation timed out")
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE in the environment (workers need it, too)",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS in the environment (workers need it, too)",
    "https": "put user name and password of this host into ~/.netrc",
    "http": "put user name and password of this host into ~/.netrc",
}


@dataclass(frozen=True)
class Failure:
    """Failure of a request."""

    error: StorageError
    transient: bool = False
    """Whether the same request may succeed later."""


def explain(error: Exception, where: str, *, anonymous: bool) -> Failure:
    """Explain an error of the client library for a request to the address ``where``.

    ``anonymous`` is whether the request was intentionally sent without credentials.
    """
    text, kind = str(error), type(error).__name__
    scheme = where.partition("://")[0]
    found = _STATUS.search(text)
    status = int(found[1]) if found else None
    if kind == "PermissionDeniedError" or status == 403:
        return Failure(AccessError(f"{where}: access was denied (403); {_rights(scheme, anonymous=anonymous)}."))
    if kind == "UnauthenticatedError" or status == 401:
        return Failure(AccessError(f"{where}: the server requires credentials (401); {_CREDENTIALS[scheme]}."))
    if "NoSuchBucket" in text:
        return Failure(StorageError(f"{where}: the bucket does not exist; check the name and input.storage.endpoint."))
    if kind == "NotSupportedError" or "non-partial response" in text:
        return Failure(
            StorageError(
                f"{where}: the server sends only complete files, but range requests are needed; serve the store with a "
                "server that supports range requests (nginx, Apache, Caddy, S3), or copy it to a file system."
            )
        )
    if "redirect without LOCATION" in text or "AuthorizationHeaderMalformed" in text:
        return Failure(
            StorageError(f"{where}: the bucket is in a different region; set AWS_REGION, or input.storage.region.")
        )
    if _lacks_credentials(text):
        return Failure(AccessError(no_credentials(where)))
    return _unreachable(text, where, status)


def no_credentials(where: str) -> str:
    """Return the message that the environment has no credentials."""
    scheme = where.partition("://")[0]
    return (
        f"{where}: no credentials found; {_CREDENTIALS[scheme]}, or set input.storage.anonymous=true for public data."
    )


def _rights(scheme: str, *, anonymous: bool) -> str:
    if scheme in ("http", "https"):
        return "check its permissions on the server, or " + _CREDENTIALS[scheme]
    more = "check the credentials in the environment, or set input.storage.anonymous=true for public data"
    if anonymous:
        more = "it is not public, so omit input.storage.anonymous and " + _CREDENTIALS[scheme]
    if scheme == "s3":
        more += "; S3 also answers 403 for a missing key if the credentials do not permit listing the bucket"
    return more


def _lacks_credentials(text: str) -> bool:
    return any(word in text for word in ("instance metadata", "computeMetadata", "metadata.google", "169.254."))


def _unreachable(text: str, where: str, status: int | None) -> Failure:
    if "dns error" in text or "failed to lookup address" in text:
        return Failure(StorageError(f"{where}: the host is unknown; check the spelling and the network."))
    if "InvalidCertificate" in text:
        hint = "set SSL_CERT_FILE in the environment to a file with the certificate of its authority"
        return Failure(StorageError(f"{where}: the certificate of the server is not trusted; {hint}."))
    if "InvalidContentType" in text:
        return Failure(
            StorageError(f"{where}: the server does not use encryption; give an address that begins with http://.")
        )
    words = _words(text)
    if status in _TRANSIENT_STATUS:
        return Failure(StorageError(f"{where}: the server answered with {words}; try again later."), transient=True)
    if status is not None:
        return Failure(StorageError(f"{where}: the server answered with {words}; check the address."))
    if any(sign in text for sign in _TRANSIENT):
        why = "connection refused" if "onnection refused" in text else "connection failed, was closed, or timed out"
        return Failure(
            StorageError(f"{where}: the server cannot be reached ({why}); check the address and the network."),
            transient=True,
        )
    return Failure(StorageError(f"{where} cannot be read ({words}); check the address and the server."))


def _words(text: str) -> str:
    """Return the status with its text, or the beginning of the first line, without the debug output that follows."""
    line = text.split("\n", 1)[0]
    found = re.search(r"status code: (\d{3}[^:]*)", line)
    return found[1].strip() if found else line[:160]
