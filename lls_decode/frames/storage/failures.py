"""What went wrong with a remote store, in one sentence, and whether asking again may help.

The client library tells failures apart by exception class and text only; everything that depends on its wording is in
this module.
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
    """A request that failed."""

    error: StorageError
    transient: bool = False
    """The same request may succeed later."""


def explain(error: Exception, where: str, *, anonymous: bool) -> Failure:
    """Say what an error of the client library means; ``where`` is the address that was asked for.

    ``anonymous`` tells whether it was asked for without credentials on purpose.
    """
    text, kind = str(error), type(error).__name__
    scheme = where.partition("://")[0]
    found = _STATUS.search(text)
    status = int(found[1]) if found else None
    if kind == "PermissionDeniedError" or status == 403:
        return Failure(AccessError(f"{where}: access was denied (403); {_rights(scheme, anonymous=anonymous)}."))
    if kind == "UnauthenticatedError" or status == 401:
        return Failure(AccessError(f"{where}: the server asks for credentials (401); {_CREDENTIALS[scheme]}."))
    if "NoSuchBucket" in text:
        return Failure(StorageError(f"{where}: there is no such bucket; check the name and input.storage.endpoint."))
    if kind == "NotSupportedError" or "non-partial response" in text:
        return Failure(
            StorageError(
                f"{where}: the server sends whole files only, and a range of bytes was asked for; serve the store with "
                "a server that answers range requests (nginx, Apache, Caddy, S3), or copy it to a file system."
            )
        )
    if "redirect without LOCATION" in text or "AuthorizationHeaderMalformed" in text:
        return Failure(
            StorageError(f"{where}: the bucket lies in another region; set AWS_REGION, or input.storage.region.")
        )
    if _lacks_credentials(text):
        return Failure(AccessError(no_credentials(where)))
    return _unreachable(text, where, status)


def no_credentials(where: str) -> str:
    """Say that the environment holds no credentials."""
    scheme = where.partition("://")[0]
    return (
        f"{where}: no credentials found; {_CREDENTIALS[scheme]}, or set input.storage.anonymous=true for public data."
    )


def _rights(scheme: str, *, anonymous: bool) -> str:
    if scheme in ("http", "https"):
        return "check its permissions on the server, or " + _CREDENTIALS[scheme]
    more = "check the credentials in the environment, or set input.storage.anonymous=true for public data"
    if anonymous:
        more = "it is not public, so leave input.storage.anonymous out and " + _CREDENTIALS[scheme]
    if scheme == "s3":
        more += "; S3 also answers 403 for a key that is absent when the credentials may not list the bucket"
    return more


def _lacks_credentials(text: str) -> bool:
    return any(word in text for word in ("instance metadata", "computeMetadata", "metadata.google", "169.254."))


def _unreachable(text: str, where: str, status: int | None) -> Failure:
    if "dns error" in text or "failed to lookup address" in text:
        return Failure(StorageError(f"{where}: its host is unknown; check the spelling, and the network."))
    if "InvalidCertificate" in text:
        hint = "name a file with the certificate of its authority in the environment, as SSL_CERT_FILE"
        return Failure(StorageError(f"{where}: the certificate of the server is not trusted; {hint}."))
    if "InvalidContentType" in text:
        return Failure(StorageError(f"{where}: the server does not encrypt; give an address that begins with http://."))
    words = _words(text)
    if status in _TRANSIENT_STATUS:
        return Failure(StorageError(f"{where}: the server answered with {words}; try again later."), transient=True)
    if status is not None:
        return Failure(StorageError(f"{where}: the server answered with {words}; check the address."))
    if any(sign in text for sign in _TRANSIENT):
        why = "connection refused" if "onnection refused" in text else "connection failed, was cut, or timed out"
        return Failure(
            StorageError(f"{where}: the server cannot be reached ({why}); check the address and the network."),
            transient=True,
        )
    return Failure(StorageError(f"{where} cannot be read ({words})."))


def _words(text: str) -> str:
    """The line that matters: the status in words, or the beginning; never the debug output that follows."""
    line = text.split("\n", 1)[0]
    found = re.search(r"status code: (\d{3}[^:]*)", line)
    return found[1].strip() if found else line[:160]
