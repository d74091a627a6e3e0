"""All errors that concern users; each has the exit status that ``lls-decode`` ends with.

A message is one sentence that says what was found, what was expected and what to do.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Final

EXIT_DONE = 0
EXIT_BLOCKS_FAILED = 1
EXIT_USAGE = 2
EXIT_INPUT = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

_MOST_QUOTED: Final = 300
"""Largest number of characters of another library's error in a message."""
_PLAIN_WORD: Final = re.compile(r"[\w@%+=:,./\\-]+" if sys.platform == "win32" else r"[\w@%+=:,./-]+")
_NOT_IN_DOUBLE_QUOTES: Final = re.compile(r'["$`!]|\\(?=["$`\\]|$)')
"""Characters to which POSIX shells give a meaning in double quotes."""


def shell_command(*words: str | PurePath) -> str:
    """Return a command of ``lls-decode`` for a message; words that a shell would split or change are quoted.

    Double quotes are preferred: Windows knows no others, and messages have single quotes around commands.
    """
    return " ".join(["lls-decode", *(_shell_word(str(word)) for word in words)])


def _shell_word(word: str) -> str:
    if _PLAIN_WORD.fullmatch(word):
        return word
    return shlex.quote(word) if _NOT_IN_DOUBLE_QUOTES.search(word) else f'"{word}"'


class LlsDecodeError(Exception):
    """Base class of all errors that concern users; the command line prints the message without a traceback."""

    exit_status = EXIT_BLOCKS_FAILED


class ConfigError(LlsDecodeError):
    """Invalid or contradictory configuration or argument."""

    exit_status = EXIT_USAGE


class BundleError(LlsDecodeError):
    """Model bundle that is unreadable or does not fit the data."""

    exit_status = EXIT_USAGE


class RunConflictError(LlsDecodeError):
    """Output folder that belongs to another run or is in use."""

    exit_status = EXIT_USAGE


class OutputError(LlsDecodeError):
    """Output that cannot be written, e.g. because the disk is full or the folder is read-only."""

    exit_status = EXIT_USAGE


class PlanError(LlsDecodeError):
    """Run that needs more memory or workers than there are, detected before it starts."""

    exit_status = EXIT_USAGE


class InputError(LlsDecodeError):
    """Dataset that cannot be read as frames."""

    exit_status = EXIT_INPUT


class ChunkError(InputError):
    """Chunk that is missing, truncated, undecodable or not readable by this user; only its frames are lost."""

    is_absence: bool = False
    """Whether the chunk does not exist, so that a retry cannot help."""


class StorageError(InputError):
    """Store that cannot be reached. The state of its frames is unknown, so none counts as lost and the block fails."""


class AccessError(StorageError):
    """Dataset that this process may not read, or lacks the codec for; this affects all blocks, so the run stops."""


class FrameValueError(InputError):
    """Frames with NaN or infinite values; only their block fails."""


class TableError(LlsDecodeError):
    """Localization table or truth table that cannot be read."""

    exit_status = EXIT_INPUT


class ShardError(TableError):
    """Shard that is truncated, from another program, or from another run."""


class BlockError(LlsDecodeError):
    """Failure of a block on a worker; raised once, from its cause."""

    cause: str = ""
    """Class name of the causing error; unlike ``__cause__``, it survives pickling."""


class CollapseError(LlsDecodeError):
    """Training whose network learns nothing, or loses what it has learned."""


@contextmanager
def read_from(path: object, error: type[LlsDecodeError], advice: str) -> Iterator[None]:
    """Turn the exceptions of parsers in the body into an error that names the file.

    Bytes of a damaged file can have any value, so parsers, of libraries and our own, raise errors of many kinds.

    Parameters
    ----------
    advice
        What the user should do.
    """
    try:
        yield
    except (LlsDecodeError, MemoryError, PermissionError):
        raise
    except Exception as cause:
        raise error(
            f"{path} cannot be read, it is damaged or of an unknown variant ({quoted(cause)}); {advice}."
        ) from cause


def quoted(error: BaseException) -> str:
    """Return the type and the text of another library's error on one line, shortened, for a message."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_QUOTED]


class SiteError(LlsDecodeError):
    """Site that cannot be used: unknown site, unreachable scheduler, or no workers."""

    exit_status = EXIT_USAGE
