"""The findings of ``lls-decode doctor``."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    state: Literal["ok", "note", "wrong"]
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)
