"""Checks of a site before a run starts on it, for 'lls-decode doctor --site'."""

from collections.abc import Iterator

from lls_decode.errors import LlsDecodeError

from .profile import State
from .site import find_site


def examine_site(name: str) -> Iterator[tuple[State, str]]:
    """Check a site without running anything on it; yield states (ok, note, wrong) and descriptions."""
    try:
        yield from find_site(name).examine()
    except LlsDecodeError as error:
        yield "wrong", str(error).rstrip(".")
