"""What is to be said of a site before a run is begun on it, for 'lls-decode doctor --site'."""

from collections.abc import Iterator

from lls_decode.errors import LlsDecodeError

from .profile import State
from .site import find_site


def examine_site(name: str) -> Iterator[tuple[State, str]]:
    """Try a site without running anything on it: state (ok, note, wrong) and words."""
    try:
        yield from find_site(name).examine()
    except LlsDecodeError as error:
        yield "wrong", str(error).rstrip(".")
