"""Folders that appear whole or not at all, and that replace only a folder of their own kind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lls_decode.addresses import refuse_remote_output
from lls_decode.errors import OutputError
from lls_decode.outputs import check_first_write, check_not_around, is_forced, note_written
from lls_decode.system import replace
from lls_decode.table.files import folder_beside, output_error


@contextmanager
def folder_written_aside(
    final: Path, *, kind: str, is_of_kind: Callable[[Path], bool], is_ours: Callable[[Path], bool]
) -> Iterator[Path]:
    """Give the path of a new folder beside ``final``, and rename it to ``final`` if the body ends without an error.

    The parent of the yielded path exists and is deleted in the end, so scratch files may be written there.

    Parameters
    ----------
    kind
        What the folder holds, as a noun with its article.
    is_of_kind
        Whether a folder holds this kind and nothing else. Other folders are never replaced, not even if forced.
    is_ours
        Whether a folder of this kind has our mark. Folders without it are replaced only if forced.

    Raises
    ------
    OutputError
        Full disk, read-only folder, or the existing ``final`` must not be replaced.
    ConfigError
        The running command reads ``final`` or a file in it.
    """
    refuse_remote_output(final)
    _check_replaceable(final, kind, is_of_kind, is_ours)
    try:
        with folder_beside(final) as aside:
            written = aside / "written"
            yield written
            _check_replaceable(final, kind, is_of_kind, is_ours)
            if final.exists():
                replace(final, aside / "replaced")
            replace(written, final)
            note_written(final)
    except OSError as error:
        raise output_error(final, error) from error


def _check_replaceable(
    final: Path, kind: str, is_of_kind: Callable[[Path], bool], is_ours: Callable[[Path], bool]
) -> None:
    if not final.exists():
        return
    check_not_around(final)
    check_first_write(final)
    if not final.is_dir():
        raise OutputError(f"{final} is a file, and {kind} is a folder; give another path.")
    if not any(final.iterdir()):
        return
    if not is_of_kind(final):
        raise OutputError(f"{final} is a folder that holds something other than {kind}; give another path.")
    if not is_ours(final) and not is_forced():
        raise OutputError(
            f"{final} is {kind} that has no mark of lls-decode, so it may belong to somebody else; give another path, "
            "or --force to replace it."
        )
