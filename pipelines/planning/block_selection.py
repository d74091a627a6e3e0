"""Select the blocks of a plan that one start of a run processes: all, a named selection, or one of N equal shares."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lls_decode.blocks import Block
from lls_decode.errors import ConfigError

from .index_range import parse_range

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Share ``number`` of ``of`` shares: a contiguous part of the blocks. All shares have about the same length."""

    number: int
    """Number of the share, from 1."""
    of: int
    """Number of shares."""

    @property
    def name(self) -> str:
        """Name of the share in file names: ``2-of-8``."""
        return f"{self.number}-of-{self.of}"

    def take(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items of this share. Each item belongs to exactly one of the shares."""
        return items[len(items) * (self.number - 1) // self.of : len(items) * self.number // self.of]


def parse_share(text: str) -> Share:
    """Parse a share such as ``2/8``.

    Raises
    ------
    ConfigError
        The text has another form, or the share does not exist.
    """
    found = re.fullmatch(r"(\d{1,15})/(\d{1,15})", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(
            f"--share {text}: expected I/N, share I (from 1) of N, e.g. 2/8; for a job array give '--array=1-8' to "
            "sbatch and '--share $SLURM_ARRAY_TASK_ID/8' here."
        )
    return Share(int(found[1]), int(found[2]))


def parse_blocks(text: str, blocks: Sequence[Block]) -> frozenset[int]:
    """Return the block numbers in a comma-separated list of numbers, ranges and ids: ``3,7:10,b000012``.

    Raises
    ------
    ConfigError
        The list contains something else, or the plan has no such block.
    """
    return frozenset(number for word in text.split(",") for number in _parse_word(word.strip(), len(blocks)))


def _parse_word(word: str, num_blocks: int) -> range:
    """Return the block numbers that one item of the list names."""
    if match := re.fullmatch(r"b?(\d{1,15})", word):
        chosen = range(int(match[1]), int(match[1]) + 1)
    elif re.fullmatch(r"(b?\d+)?[:-](b?\d+)?", word):
        start, stop = parse_range(word.replace("b", ""), option="--only")
        chosen = range(start or 0, num_blocks if stop is None else stop)
    else:
        raise ConfigError(f"--only {word or '(nothing)'}: expected {_expected(num_blocks)}")
    if not chosen or chosen.stop > num_blocks:
        raise ConfigError(f"--only {word}: the plan has no such block; expected {_expected(num_blocks)}")
    return chosen


def _expected(num_blocks: int) -> str:
    return (
        f"blocks of the plan, which are 0:{num_blocks} (the end excluded), by number, range or id, "
        "e.g. 3,7:10,b000012 for 3, 7, 8, 9 and 12."
    )


def select_blocks(blocks: Sequence[Block], *, only: Collection[int] | None, share: Share | None) -> tuple[Block, ...]:
    """Return the blocks that belong to a share and to a selection of numbers, in the order of the plan.

    None for ``share`` or ``only`` means no restriction.
    """
    taken = blocks if share is None else share.take(blocks)
    return tuple(block for block in taken if only is None or block.index in only)
