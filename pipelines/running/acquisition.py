"""Localize an acquisition while it is being written: find the blocks that are ready, and detect the end.

When a dataset grows, its plan keeps the earlier blocks and adds new ones (`blocks.plan_settled_blocks`), and the run
digest does not depend on the length. The blocks that are processed during the acquisition are therefore blocks of an
ordinary run of the finished dataset. That run finds their shards in the folder and processes the remaining blocks: the
last ones, and those that failed.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lls_decode.blocks import Block, plan_settled_blocks
from lls_decode.frames import FrameSource
from lls_decode.frames.growing import SETTLE_S, Growth
from lls_decode.model.info import read_bundle_info
from lls_decode.models import RunConfigLike, as_run_config, find_bundle
from lls_decode.pipelines.journal.events import DatasetGrown, Listener
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.plan import Plan, make_plan

POLL_S = 2.0
"""Shortest time between two checks of the files."""
IDLE_S = 600.0
"""Default time without new data after which the acquisition counts as ended."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StopConditions:
    """Conditions that end an acquisition; the first one that is met counts.

    A file ``STOP`` in the run folder always ends the acquisition.
    """

    file: Path | None = None
    """File whose existence ends the acquisition."""
    volumes: int | None = None
    """Number of volumes after which the acquisition ends."""
    idle_s: float = IDLE_S
    """Time without new data after which the acquisition ends."""


class Acquisition:
    """A growing dataset: plans for its complete part, and for the whole dataset once the acquisition has ended."""

    def __init__(
        self,
        dataset: str | Path,
        model: str | Path,
        out: str | Path,
        config: RunConfigLike = None,
        *,
        ending: StopConditions | None = None,
        force: bool = False,
        poll_s: float = POLL_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        """Parameters are those of `make_plan`, and the following.

        Parameters
        ----------
        ending
            Conditions that end the acquisition; None: the defaults.
        poll_s
            Shortest time between two checks of the files.
        settle_s
            Time for which a file must not have changed to count as complete.
        """
        self.blocks: list[Block] = []
        """Blocks that can be processed so far. They do not change when the dataset grows further."""
        self._dataset, self._bundle_path, self._out = str(dataset), find_bundle(model), Path(out)
        self._config = as_run_config(config)
        self._ending = ending or StopConditions()
        self._force = force
        self._poll_s = poll_s
        self._growth = Growth(dataset, self._config.input, settle_s=settle_s)
        self._context = read_bundle_info(self._bundle_path).network.context

    @property
    def source(self) -> FrameSource | None:
        """Complete part of the dataset; None before the first volume."""
        return self._growth.source

    def wait(self) -> Plan:
        """Wait for the first volume, and return the plan of the complete part of the dataset.

        Raises
        ------
        InputError
            The acquisition ended before its first volume, or this kind of dataset cannot grow.
        BundleError, ConfigError
            As for `make_plan`.
        """
        said = ""
        while self._look() is None and self.source is None:
            if self._growth.problem != said:
                said = self._growth.problem
                logger.info("waiting for the first volume: %s", said)
            time.sleep(self._poll_s)
        self._extend()
        return make_plan(
            self._dataset, self._bundle_path, self._out, self._config, source=self.source, force=self._force
        )

    def iter_blocks(self, emit: Listener) -> Iterator[Sequence[Block]]:
        """Yield the blocks that have become ready since the previous step, until the acquisition ends.

        Each step may yield an empty sequence. New blocks are also announced to ``emit`` with a `DatasetGrown` event.
        """
        yield tuple(self.blocks)
        next_look = 0.0
        reason: str | None = None
        while reason is None:
            if time.monotonic() < next_look and self._reason_to_end() is None:
                yield ()
                continue
            began = time.monotonic()
            reason = self._look()
            fresh = self._extend()
            if fresh and self.source is not None:
                frames = sum(block.num_owned for block in fresh)
                emit(DatasetGrown(volumes=self.source.layout.num_volumes, blocks=len(self.blocks), frames=frames))
            # Checking a folder of 100 000 volumes is slow; spend at most a tenth of the time on checks.
            next_look = began + max(self._poll_s, 10 * (time.monotonic() - began))
            yield fresh
        logger.info("the acquisition has ended: %s", reason)

    def whole_plan(self) -> Plan:
        """Return the ordinary plan of the whole dataset, after the acquisition has ended."""
        return self._plan(None)

    def _plan(self, source: FrameSource | None) -> Plan:
        return make_plan(self._dataset, self._bundle_path, self._out, self._config, source=source, force=self._force)

    def _look(self) -> str | None:
        """Check the files, and return why the acquisition has ended; None if it has not.

        It has ended if a stop condition was met before this check and the check finds nothing new. The second part is
        needed because a check may take long, and may miss data that arrive meanwhile.
        """
        reason, changed_at = self._reason_to_end(), self._growth.changed_at
        self._growth.look()
        return reason if self._growth.changed_at == changed_at else None

    def _extend(self) -> Sequence[Block]:
        """Add the blocks that are ready to `blocks`, and return the new ones."""
        if self.source is None:
            return ()
        fresh = plan_settled_blocks(
            self.source.layout, self._context, self._config.execution.block_frames, start=len(self.blocks)
        )
        self.blocks += fresh
        return fresh

    def _reason_to_end(self) -> str | None:
        """Return which stop condition is met according to the checks so far; None if none is."""
        if not self._growth.is_quiet():
            return None
        ending = self._ending
        for file in (ending.file, RunFolder(self._out).stop):
            if file is not None and file.exists():
                return f"the file {file} exists"
        if ending.volumes is not None and self._growth.num_volumes_begun() >= ending.volumes:
            return f"it has {ending.volumes} volumes"
        if self._growth.idle_s() >= ending.idle_s:
            return f"no new data for {ending.idle_s:g} s"
        return None
