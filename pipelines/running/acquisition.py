"""An acquisition that is localized while it is being written: which blocks can be done by now, and when it is over.

The plan of a dataset that has grown begins with the blocks that it had before (`blocks.plan_settled_blocks`), and its
run digest does not depend on the length. So what is done early are blocks of an ordinary run of the finished dataset,
which then finds them in the folder and does the rest: the last ones, and those that failed.
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
"""Time between two looks at the files."""
IDLE_S = 600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StopConditions:
    """What ends an acquisition: whichever comes first. A file ``STOP`` in the run folder always does."""

    file: Path | None = None
    """It is over when this file exists."""
    volumes: int | None = None
    """It is over when so many volumes are there."""
    idle_s: float = IDLE_S
    """It is over when nothing new has come for so long."""


class Acquisition:
    """A dataset that grows: the plan of what is complete of it, and of the whole when it is over."""

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
        """As for `make_plan`; ``settle_s``: how long a file must not have changed to be taken as complete."""
        self.blocks: list[Block] = []
        """That can be done by now; they stay as they are, however far the dataset grows."""
        self._dataset, self._bundle_path, self._out = str(dataset), find_bundle(model), Path(out)
        self._config = as_run_config(config)
        self._ending = ending or StopConditions()
        self._force = force
        self._poll_s = poll_s
        self._growth = Growth(dataset, self._config.input, settle_s=settle_s)
        self._context = read_bundle_info(self._bundle_path).network.context

    @property
    def source(self) -> FrameSource | None:
        """The dataset as far as it is complete."""
        return self._growth.source

    def wait(self) -> Plan:
        """Wait for the first volume; the plan of what is there then.

        Raises
        ------
        InputError
            The acquisition is over before it has begun, or the dataset is none that can grow.
        BundleError, ConfigError
            As `make_plan`.
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
        """Blocks that have become ready since the last time it was asked; ends when the acquisition is over.

        ``emit`` is told when there are more.
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
            # Looks are to take a tenth of the time at most: one at a folder of 100 000 volumes is slow.
            next_look = began + max(self._poll_s, 10 * (time.monotonic() - began))
            yield fresh
        logger.info("the acquisition is over: %s", reason)

    def whole_plan(self) -> Plan:
        """The plan of the dataset when the acquisition is over: an ordinary one."""
        return self._plan(None)

    def _plan(self, source: FrameSource | None) -> Plan:
        return make_plan(self._dataset, self._bundle_path, self._out, self._config, source=source, force=self._force)

    def _look(self) -> str | None:
        """Look at the files; why the acquisition is over: all was quiet before, and this look has found nothing new.

        What comes during a look it may miss, and some take long.
        """
        reason, changed_at = self._reason_to_end(), self._growth.changed_at
        self._growth.look()
        return reason if self._growth.changed_at == changed_at else None

    def _extend(self) -> Sequence[Block]:
        """Take in the blocks that are ready now; returns those that were not."""
        if self.source is None:
            return ()
        fresh = plan_settled_blocks(
            self.source.layout, self._context, self._config.execution.block_frames, start=len(self.blocks)
        )
        self.blocks += fresh
        return fresh

    def _reason_to_end(self) -> str | None:
        """Why the acquisition is over, as far as the looks until now have seen; None when it is not."""
        if not self._growth.is_quiet():
            return None
        ending = self._ending
        for file in (ending.file, RunFolder(self._out).stop):
            if file is not None and file.exists():
                return f"there is a file {file}"
        if ending.volumes is not None and self._growth.num_volumes_begun() >= ending.volumes:
            return f"{ending.volumes} volumes are there"
        if self._growth.idle_s() >= ending.idle_s:
            return f"nothing new has come for {ending.idle_s:g} s"
        return None
