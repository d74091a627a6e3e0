"""Tracking of an acquisition, a dataset that is still being written, to find its complete part from its files alone.

Writers differ: some resize an array as it grows, some declare its full size and write the chunks later, some add arrays
to a directory; files are renamed into place, or filled frame by frame. One rule covers all of them. A *step* is the
unit of writing: one row of chunks (or shards) along t, or one array of a directory. A step is complete if its files
exist, none of them has changed for a while, and a file of a later step exists.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from lls_decode.addresses import is_address, resolve_dataset
from lls_decode.config import InputConfig
from lls_decode.errors import InputError
from lls_decode.frames.opening import open_source
from lls_decode.frames.source import FrameSource
from lls_decode.frames.storage.codecs import open_array
from lls_decode.frames.storage.joined import Joined, join_leading_stores
from lls_decode.frames.storage.keys import DirectoryKeys, ZarrArray, join
from lls_decode.frames.storage.opening import open_keys
from lls_decode.frames.storage.stores import forget_listings, is_collection, list_arrays
from lls_decode.naming.choices import NameChoices

SETTLE_S = 10.0
"""Time without change after which a file is complete, if later files exist."""
LATE_S = 120.0
"""Time after the writing of later files at which a missing file counts as lost; its block fails, others continue."""
STEPS_AHEAD = 4
"""Number of steps that are searched for later files, so that a lost step does not block the others."""


class Growth:
    """Progress of an acquisition, updated by repeated calls of `look`."""

    def __init__(
        self,
        path: str | Path,
        config: InputConfig | None = None,
        *,
        settle_s: float = SETTLE_S,
        late_s: float = LATE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        path = resolve_dataset(path)
        if is_address(path):
            raise InputError(
                f"{path} is an address, but following an acquisition needs the file times of a file system; run "
                "without --follow once it is complete, or mount the store."
            )
        self.source: FrameSource | None = None
        """Complete part of the dataset; None as long as no volume is complete."""
        self.problem = f"{path} has no complete volume yet"
        """Reason why there is no source."""
        self.changed_at = clock()
        """Time of the last `look` that found a change."""
        self._path, self._config = str(path), config or InputConfig()
        self._settle_s, self._late_s, self._clock = settle_s, late_s, clock
        self._opened: FrameSource | None = None
        self._steps: _Steps | None = None
        self._complete = self._begun = self._num_joined = 0
        self._seen: object = None
        self._files = _FileTimes(clock)

    def look(self) -> FrameSource | None:
        """Check the files again; return the complete part of the dataset, or None.

        Raises
        ------
        InputError
            The dataset cannot grow, or data that existed before have changed.
        """
        forget_listings()
        if self._opened is None and not self._open():
            return None
        assert self._opened is not None
        steps = self._steps = self._list_steps(self._opened)
        while self._is_complete(steps, self._complete):
            self._complete += 1
        self._note_change(steps)
        self._extend(steps)
        return self.source

    def is_quiet(self) -> bool:
        """Return whether nothing has changed for so long that all files found so far are complete."""
        return self.idle_s() >= self._settle_s

    def idle_s(self) -> float:
        """Return the time since the last change found by `look`; changes after the last `look` are unknown."""
        return self._clock() - self.changed_at

    def num_volumes_begun(self) -> int:
        """Return the number of volumes whose files all exist, whether complete or still being written."""
        return self._steps.num_volumes(self._begun) if self._steps is not None else 0

    def _open(self) -> bool:
        """Try to open the dataset; this fails if it does not exist yet or its metadata are incomplete."""
        try:
            joined = self._join(list_arrays(self._path))
            self._opened = replace(open_source(self._path, self._config, joined=joined), stores=None, growing=True)
        except InputError as error:
            self.problem = str(error)
            return False
        return True

    def _list_steps(self, opened: FrameSource) -> "_Steps":
        """Return the current steps of the dataset."""
        paths = list_arrays(self._path)
        before = self._steps
        if is_collection(self._path):
            if before is not None and paths[: self._complete] != before.paths[: self._complete]:
                raise InputError(
                    f"{self._path}: volumes were inserted or removed while it was followed; start a new run once the "
                    "dataset no longer changes."
                )
            if before is None or paths != before.paths:
                joined = self._join(paths)
                self._num_joined = len(joined.paths) if joined is not None else len(paths)
            array = (before.array if before is not None else None) or _open_array(paths[0], opened)
            return _Steps(opened, array, paths, by_array=True)
        if "t" not in opened.frame_map.axes or not isinstance(open_keys(Path(paths[0])), DirectoryKeys):
            raise InputError(
                f"{self._path} is a single volume or a zip file, which cannot grow; follow a zarr array with an axis "
                "t, or the directory into which the volumes are written."
            )
        array = _open_array(paths[0], opened)
        if array is None:
            return before or _Steps(opened, None, paths, by_array=False)
        length = array.shape[opened.frame_map.axes.index("t")] if array.ndim == len(opened.frame_map.shape) else 0
        frame_map = opened.frame_map.with_length(length)
        if array.shape != frame_map.shape:
            raise InputError(
                f"{self._path} has shape {array.shape} now, but had {opened.frame_map.shape} before; only axis t may "
                "grow."
            )
        return _Steps(replace(opened, frame_map=frame_map), array, paths, by_array=False)

    def _join(self, paths: tuple[str, ...]) -> Joined | None:
        """Return the stores of a directory whose names follow each other, so that none is missing between them."""
        if not is_collection(self._path):
            return None
        return join_leading_stores(self._path, paths, NameChoices(allow_gaps=self._config.allow_gaps))

    def _is_complete(self, steps: "_Steps", step: int) -> bool:
        if steps.by_array and step >= self._num_joined:
            return (
                False  # a store before it is missing, and may still appear; if not, opening the whole dataset says so
            )
        ahead = range(step + 1, min(step + 1 + STEPS_AHEAD, steps.count))
        later = next((found for n in ahead if (found := self._files.of_any(steps.files(n)))), None)
        if later is None:
            return False
        own = self._files.of_all(steps.files(step))
        return self._files.age(own) >= self._settle_s if own else self._files.age(later) >= self._late_s

    def _note_change(self, steps: "_Steps") -> None:
        """Record the time of a change: a longer array, a new file, or a new modification time of a recent file."""
        self._begun = max(self._begun, self._complete)
        while self._begun < steps.count and self._files.of_all(steps.files(self._begun)) is not None:
            self._begun += 1
        at_end = range(max(0, self._begun - STEPS_AHEAD), min(self._begun + STEPS_AHEAD, steps.count))
        seen = (self._begun, steps.count, [self._files.each(steps.files(step)) for step in at_end])
        if seen != self._seen:
            self._seen, self.changed_at = seen, self._clock()

    def _extend(self, steps: "_Steps") -> None:
        """Extend the source to all complete volumes."""
        volumes = steps.num_volumes(self._complete)
        if volumes == 0 or (self.source is not None and volumes == self.source.layout.num_volumes):
            return
        if self.source is None and not self._open():  # reopen it: its identity depends on its first chunks
            return
        assert self._opened is not None
        frame_map = steps.source.frame_map
        if steps.by_array:
            frame_map = replace(frame_map, num_arrays=self._complete)
        else:
            frame_map = frame_map.with_length(volumes * frame_map.raw_planes // frame_map.size("z"))
        self.source = replace(self._opened, frame_map=frame_map, layout=frame_map.layout)


class _Steps:
    """Steps of a dataset at one moment, and the files of each step."""

    def __init__(self, source: FrameSource, array: ZarrArray | None, paths: tuple[str, ...], *, by_array: bool) -> None:
        self.source, self.array, self.paths, self.by_array = source, array, paths, by_array
        self._axes, self._shape = source.frame_map.axes, source.frame_map.shape
        self._sizes = source.shards or source.chunks
        self.count = 0 if array is None else len(paths) if by_array else -(-source.frame_map.size("t") // self._length)
        """Number of declared steps."""

    @property
    def _length(self) -> int:
        return self._sizes[self._axes.index("t")]

    def num_volumes(self, steps: int) -> int:
        """Return the number of complete volumes in a number of steps."""
        frame_map = self.source.frame_map
        if self.by_array:
            return steps * frame_map.frames_per_array // frame_map.raw_planes
        return min(steps * self._length, frame_map.size("t")) * frame_map.size("z") // frame_map.raw_planes

    def files(self, step: int) -> Iterator[str]:
        """Yield the chunk files of a step, for the selected channel."""
        assert self.array is not None
        root = os.path.join(self.paths[step if self.by_array else 0], "")
        for place in itertools.product(*self._ranges(step)):
            yield root + join(self.source.array, self.array.metadata.encode_chunk_key(place))

    def _ranges(self, step: int) -> Iterator[range]:
        for axis, length, size in zip(self._axes, self._shape, self._sizes, strict=True):
            if axis == "t" and not self.by_array:
                yield range(step, step + 1)
            elif axis in self.source.frame_map.fixed:
                number = self.source.frame_map.fixed[axis] // size
                yield range(number, number + 1)
            else:
                yield range(-(-length // size))


class _FileTimes:
    """Modification times of files, and lower limits of their ages.

    The clock of a file server may differ from ours. Its time is at least that of the newest file, plus the time that
    has passed on our clock since we first saw this file.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._newest, self._newest_seen_at = 0.0, clock()

    def age(self, modified: float) -> float:
        """Return the minimum age, in seconds, of a file with this modification time."""
        return self._newest - modified + self._clock() - self._newest_seen_at

    def each(self, paths: Iterator[str]) -> tuple[float | None, ...]:
        """Return the modification time of each file; None for a missing or empty file."""
        return tuple(self._of(path) for path in paths)

    def of_all(self, paths: Iterator[str]) -> float | None:
        """Return the latest modification time of the files; None if any of them is missing."""
        latest = 0.0
        for path in paths:
            modified = self._of(path)
            if modified is None:
                return None
            latest = max(latest, modified)
        return latest

    def of_any(self, paths: Iterator[str]) -> float | None:
        """Return the modification time of the first file that exists, or None."""
        return next((modified for path in paths if (modified := self._of(path)) is not None), None)

    def _of(self, path: str) -> float | None:
        try:
            found = os.stat(path)
        except OSError:
            return None
        if found.st_size == 0:
            return None
        if found.st_mtime > self._newest:
            self._newest, self._newest_seen_at = found.st_mtime, self._clock()
        return found.st_mtime


def _open_array(path: str, opened: FrameSource) -> ZarrArray | None:
    """Open the array with its current metadata; None if they cannot be read, for instance while being written."""
    try:
        return open_array(open_keys(Path(path)).open_store(), opened.array)
    except Exception:  # zarr raises many kinds of errors for incomplete metadata
        return None
