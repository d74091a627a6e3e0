"""What is added to a file of JSON lines while another program writes it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .events import parse_line


@dataclass
class Tail:
    """Reads each line of a file once, when it is whole; the cost of a look is what was added since the last one."""

    path: Path
    position: int = 0
    """Bytes that were read."""
    broken: int = 0
    """Lines that are no JSON object: a process was killed while writing."""
    unfinished: bool = False
    """Whether the file ends within a line: somebody is writing it, or was killed."""

    def read(self, *, without: Collection[str] = ()) -> Iterator[dict[str, Any]]:
        """Records that were added since the last call.

        Parameters
        ----------
        without
            Events that are passed over unread; most lines of ``events.jsonl`` are also in the ledger.
        """
        skipped = tuple(f'{{"event":"{kind}"'.encode() for kind in without)
        for line in self._lines():
            if skipped and line.startswith(skipped):
                continue
            record = parse_line(line)
            if record is not None:
                yield record
            elif line.strip():
                self.broken += 1

    def _lines(self) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                if self.path.stat().st_size < self.position:  # the folder was cleared for a new run
                    self.position = self.broken = 0
                file.seek(self.position)
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self.position += len(whole)
        self.unfinished = len(whole) < len(content)
        return whole.splitlines()
