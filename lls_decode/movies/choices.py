"""Options by which a user resolves ambiguities of a movie, such as several channels or positions."""

from dataclasses import dataclass

from lls_decode.naming.choices import NameChoices


@dataclass(frozen=True, kw_only=True)
class Choices(NameChoices):
    """Options that resolve ambiguities of the files; with the defaults, an ambiguity is an error."""

    axes: str | None = None
    """Axes of each file, e.g. ``zyx``, where its metadata are wrong."""
    salvage: bool = False
    """Whether to keep the complete frames of damaged files; the loss is recorded."""
