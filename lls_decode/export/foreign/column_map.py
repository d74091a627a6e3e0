"""The user's mapping from columns of a file to ours: ``x_nm=Xpos,photons=Int`` or a YAML file."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lls_decode.documents import DocumentError, read_yaml
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.foreign.units import is_unit, split_unit
from lls_decode.outputs import note_read

TARGETS: Final = {
    "frame": "frame, or the first one of a molecule", "x_nm": "", "y_nm": "", "z_nm": "", "photons": "", "bg": "",
    "x_sig": "", "y_sig": "", "xy_sig": "one number for x_sig and y_sig", "z_sig": "", "phot_sig": "", "prob": "",
    "volume": "", "plane": "", "group": "", "channel": "colour", "file": "which of several source files",
    "num_frames": "detections of a molecule", "last_frame": "", "span_frames": "last_frame - frame + 1",
    "num_planes": "", "num_volumes": "", "prob_any": "",
}  # fmt: skip
"""Names allowed on the left side, with an explanation for names that are not columns of our table."""

_BETWEEN: Final = re.compile(r"\s*,\s*(?=[A-Za-z_]\w*\s*=)")
_EXAMPLE: Final = "frame=T,x_nm=Xpos,y_nm=Ypos (px)"

ColumnMap = Mapping[str, str | None]
"""Their column by ours; None or an empty text: no column is taken, even if one looks like it."""


def read_column_map(given: str | Path | Mapping[str, Any] | None) -> dict[str, str | None]:
    """Read a column map.

    Parameters
    ----------
    given
        ``OURS=THEIRS,OURS=THEIRS``, the path of a YAML file with ``OURS: THEIRS``, or a mapping.

    Raises
    ------
    ConfigError
        The map cannot be read, or names columns that our table does not have.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        found: Mapping[str, Any] = given
    elif isinstance(given, str) and "=" in given and not Path(given).is_file():
        found = _pairs(given)
    else:
        found = _read_yaml(Path(given))
    for ours, theirs in found.items():
        if ours not in TARGETS:
            raise ConfigError(
                f"columns (--columns) names {ours!r}, which is not a column of our table"
                f"{did_you_mean(str(ours), list(TARGETS))}; expected OURS=THEIRS with one of {', '.join(TARGETS)} on "
                "the left."
            )
        if theirs is not None and not isinstance(theirs, str | int | float):
            raise ConfigError(f"columns (--columns) has {ours}: {theirs!r}; expected the name of a column of the file.")
    return {ours: None if theirs is None else str(theirs).strip() or None for ours, theirs in found.items()}


def find_column(wanted: str, names: Sequence[str], *, source: Any) -> tuple[str, str | None]:
    """Find a column by its name, or by its name followed by a unit; return its name and the unit (None without one).

    Raises
    ------
    TableError
        There is no such column; the message suggests a similar name.
    """
    if wanted in names:
        return wanted, None
    stem, unit = split_unit(wanted)
    if unit is not None and stem in names:
        if not is_unit(unit):
            raise ConfigError(
                f"columns (--columns) gives {stem!r} the unit {unit!r}; expected nm, um, mm, m, angstrom, px, photons."
            )
        return stem, unit
    raise TableError(
        f"{source} has no column {wanted!r}{did_you_mean(wanted, names)}; it has {', '.join(names)[:500] or 'none'}."
    )


def did_you_mean(wanted: str, names: Sequence[str]) -> str:
    """Return the most similar name as a question in brackets; empty if no name is similar."""
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in _BETWEEN.split(text.strip()):
        ours, separator, theirs = item.partition("=")
        ours = ours.strip()
        if not separator or not ours:
            raise ConfigError(f"columns (--columns) has {item!r}; expected OURS=THEIRS, as in {_EXAMPLE!r}.")
        if ours in found:
            raise ConfigError(f"columns (--columns) gives {ours} twice; expected each of our columns once.")
        found[ours] = theirs.strip()
    return found


def _read_yaml(path: Path) -> Mapping[str, Any]:
    note_read(path)
    try:
        found = read_yaml(path)
    except (OSError, DocumentError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(
            f"columns (--columns) {str(path)!r} cannot be read ({reason}); expected {_EXAMPLE!r}, or a YAML file with "
            "lines like 'x_nm: Xpos'."
        ) from error
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path} holds no map of columns; expected lines like 'x_nm: Xpos'.")
    return found
