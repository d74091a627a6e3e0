"""Which blocks of a plan one start of a run does: all, those that are named, or one of n equal shares."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lls_decode.blocks import Block
from lls_decode.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """One of ``of`` shares of some work, each a stretch of about the same length; done by jobs that know no other."""

    number: int
    """From 1."""
    of: int

    @property
    def name(self) -> str:
        """As it stands in names of files: ``2-of-8``."""
        return f"{self.number}-of-{self.of}"

    def take(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this share; those of all shares are all items, each once."""
        return items[len(items) * (self.number - 1) // self.of : len(items) * self.number // self.of]


def parse_share(text: str) -> Share:
    """Read ``2/8``.

    Raises
    ------
    ConfigError
        It is something else, or no share between the first and the last.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(
            f"--shard {text}: expected NUMBER/OF with numbers from 1, as 2/8; in an array of jobs give "
            "'--array=1-8' to sbatch and '--shard $SLURM_ARRAY_TASK_ID/8' here."
        )
    return Share(int(found[1]), int(found[2]))


def parse_blocks(text: str, blocks: Sequence[Block]) -> frozenset[int]:
    """Numbers of the blocks in a list of numbers, ranges (the last included) and ids: ``3,7-9,b000012``.

    Raises
    ------
    ConfigError
        Something else is in the list, or the plan has no such block.
    """
    found: set[int] = set()
    for word in text.split(","):
        match = re.fullmatch(r"b?(\d+)(?:-b?(\d+))?", word.strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else -1
        if not first <= last < len(blocks):
            raise ConfigError(
                f"--only {word.strip() or '(nothing)'}: expected blocks of the plan, which are 0 to {len(blocks) - 1}, "
                "by number, range or id, as 3,7-9,b000012."
            )
        found |= set(range(first, last + 1))
    return frozenset(found)


def choose(blocks: Sequence[Block], *, only: Collection[int] | None, share: Share | None) -> tuple[Block, ...]:
    """The blocks of a share that are named, in the order of the plan; None: all shares, all names."""
    taken = blocks if share is None else share.take(blocks)
    return tuple(block for block in taken if only is None or block.index in only)
