"""Everything that can be a user's concern, named. Each error carries the exit status of ``lls-decode``.

A message is one sentence that says what was found, what was expected and what to do.
"""

EXIT_DONE = 0
EXIT_BLOCKS_FAILED = 1
EXIT_USAGE = 2
EXIT_INPUT = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class LlsDecodeError(Exception):
    """Base of all errors that are the user's concern; the command line prints the message without a traceback."""

    exit_status = EXIT_BLOCKS_FAILED


class ConfigError(LlsDecodeError):
    """A configuration, or an argument, that cannot be meant."""

    exit_status = EXIT_USAGE


class BundleError(LlsDecodeError):
    """A model bundle that is unreadable or does not fit the data."""

    exit_status = EXIT_USAGE


class RunConflictError(LlsDecodeError):
    """An output folder that belongs to another run, or is in use."""

    exit_status = EXIT_USAGE


class OutputError(LlsDecodeError):
    """An output that cannot be written: full disk, read-only folder."""

    exit_status = EXIT_USAGE


class PlanError(LlsDecodeError):
    """A run that cannot fit (memory, workers), found before it starts."""

    exit_status = EXIT_USAGE


class InputError(LlsDecodeError):
    """A dataset that cannot be read as frames."""

    exit_status = EXIT_INPUT


class ChunkError(InputError):
    """A chunk that is missing, truncated, undecodable or not ours to read. Its frames are lost, no others."""

    is_absence: bool = False
    """There is no such chunk: a second attempt finds none either."""


class StorageError(InputError):
    """A store that cannot be reached. Nothing is known about its bytes: no frame counts as lost, the block fails."""


class AccessError(StorageError):
    """A dataset that this process may not read, or lacks the codec for. Not a matter of a block: the run stops."""


class FrameValueError(InputError):
    """Frames that hold NaN or infinite values. Fails their block only."""


class TableError(LlsDecodeError):
    """A localization table or truth table that cannot be read."""

    exit_status = EXIT_INPUT


class ShardError(TableError):
    """A shard that is truncated, foreign, or of another run."""


class BlockError(LlsDecodeError):
    """A block that failed on a worker; raised once, from its cause."""

    cause: str = ""
    """Name of the kind of error that it was raised from; unlike ``__cause__`` it survives pickling."""


class CollapseError(LlsDecodeError):
    """A training whose network learns nothing, or forgets all."""


class SiteError(LlsDecodeError):
    """Machines that cannot be had: unknown site, unreachable scheduler, no workers."""

    exit_status = EXIT_USAGE
