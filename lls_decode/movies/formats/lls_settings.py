"""Geometry from the ``Settings.txt`` of lattice light-sheet software (Janelia LabVIEW, 3i, MOSAIC).

The file has titled sections of text, followed by the instrument's ``.ini`` file. Only values needed for localization
are read. The keys are those found in files of this software; the meaning of the motion keys is taken from LLSpy's
reader and the notes of its users.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lls_decode.config import Geometry, PixelSize
from lls_decode.documents import DocumentError, read_loose_text
from lls_decode.errors import InputError

CAMERA_PIXELS_UM = {
    "C11440": 6.5,  # Hamamatsu Orca Flash 4.0
    "C13440": 6.5,
    "C14440": 6.5,  # Orca Fusion
    "C15440": 6.5,
    "C8484": 6.45,
    "C10600": 3.63,  # Orca 2.8 R2
    "C11440-10C": 3.63,  # Orca Flash 2.8
}
"""Pixel pitch of cameras in micrometres, by the beginning of the model name."""

_WAVEFORM = re.compile(
    r"^(?P<name>[^\n:]+?) Offset,[^\n:]*\((?P<channel>\d+)\)[ \t]*:(?P<values>[^\n]*)$", re.MULTILINE
)
_STAGE, _OBJECTIVE = ("S PZT", "S PIEZO", "X STAGE", "SAMPLE PIEZO"), ("Z PZT", "Z PIEZO", "XZ STAGE", "Z STAGE")


@dataclass(frozen=True)
class LlsSettings:
    """Values read from a ``Settings.txt``; None for values that it does not state."""

    planes: int | None
    """Planes per sweep."""
    geometry: Geometry | None
    pixel_size: PixelSize | None
    notes: tuple[str, ...]
    """Remarks on values that could not be read."""


def read_settings(path: Path, *, channel: int = 0) -> LlsSettings:
    """Read the geometry of the sweeps of one channel.

    Instruments state the direction of a scan by the sign of the step or by the angle: a negative step, or an angle
    below 0 or above 90 degrees, reverses ``scan_direction``.

    Raises
    ------
    InputError
        The file cannot be read, does not describe a sweep, or has a value that is not a number.
    """
    try:
        text = read_loose_text(path)
    except (OSError, DocumentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}); restore the file.") from error
    sweeps = {
        match["name"].strip().upper(): _sweep(match, path)
        for match in _WAVEFORM.finditer(text)
        if int(match["channel"]) == channel
    }
    if not sweeps:
        raise InputError(
            f"{path} does not describe the sweep of channel {channel} (expected a line like 'S PZT Offset, Interval "
            "(um), # of Pixels ... (0) : 55 0.3 88'); correct it, or move it elsewhere and give the geometry in a run "
            "configuration."
        )
    notes: list[str] = []
    geometry, planes = _geometry(text, sweeps, notes, path)
    return LlsSettings(planes, geometry, _pixel_size(text, notes, path), tuple(notes))


def _sweep(line: re.Match[str], path: Path) -> tuple[float, int]:
    """Read step and number of planes from a line with three values: offset, interval, number of planes."""
    values = line["values"].split()
    if len(values) != 3:
        raise InputError(f"{path} has the line {line[0].strip()!r}, expected three values: offset, interval, planes.")
    step, planes = _number(values[1], line["name"], path), _number(values[2], line["name"], path)
    if planes != int(planes) or planes < 0:
        raise InputError(f"{path} has the line {line[0].strip()!r}, expected a whole number of planes; correct it.")
    return step, int(planes)


def _number(text: str, what: str, path: Path) -> float:
    """Parse a number with a decimal point or, from computers with such a language setting, a decimal comma."""
    if not re.fullmatch(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?", text.strip()):
        raise InputError(f"{path} has {text.strip()!r} for {what.strip()}, expected a number; correct it.")
    return float(text.strip().replace(",", "."))


def _geometry(
    text: str, sweeps: dict[str, tuple[float, int]], notes: list[str], path: Path
) -> tuple[Geometry | None, int | None]:
    motion = _value(text, r"Z motion\s*:")
    name = _moving(motion, sweeps)
    if name is None:
        notes.append(f"Settings.txt: unknown Z motion {motion!r} with the sweeps {', '.join(sweeps)}")
        return None, None
    step_um, planes = sweeps[name]
    direction = -1 if step_um < 0 else 1
    step_nm = round(abs(step_um) * 1e3, 6)
    if name not in _STAGE:
        return Geometry(motion="objective", stage_step_nm=step_nm, scan_direction=1 if direction > 0 else -1), planes
    written = _value(text, r"Angle between stage and bessel beam \(deg\)\s*=")
    if written is None:
        notes.append("Settings.txt does not state the angle between stage and sheet")
        return None, planes
    angle = _number(written, "the angle between stage and sheet", path)
    if angle % 180 == 0 or abs(angle) > 180:
        raise InputError(
            f"{path} states an angle of {written} deg between stage and sheet, expected 0 to 90; correct it."
        )
    if angle < 0 or angle > 90:  # -32.8 or 147.2: the stage moves in the opposite direction
        direction, angle = -direction, round(180 - angle if angle > 90 else -angle, 9)
    return (
        Geometry(
            motion="stage",
            stage_step_nm=step_nm,
            angle_deg=angle,
            propagation_axis="x",
            scan_direction=1 if direction > 0 else -1,
        ),
        planes,
    )


def _moving(motion: str | None, sweeps: dict[str, tuple[float, int]]) -> str | None:
    """Return the name of the sweep that moves from plane to plane."""
    words = (motion or "").lower()
    families = [*_STAGE, *_OBJECTIVE]
    if "sample" in words or words.startswith(("s piezo", "x stage")):
        families = list(_STAGE)
    elif words.startswith(("z", "xz")):
        families = list(_OBJECTIVE)
    found = [name for name in families if name in sweeps and sweeps[name][0] != 0 and sweeps[name][1] > 1]
    return found[0] if found else None


def _pixel_size(text: str, notes: list[str], path: Path) -> PixelSize | None:
    """Compute the pixel size: pixel pitch of the camera divided by the magnification, times the binning."""
    model, magnification = _value(text, r"Model\s*:"), _value(text, r"Magnification\s*=")
    names = [name for name in CAMERA_PIXELS_UM if (model or "").startswith(name)]
    magnified = _number(magnification, "the magnification", path) if magnification else 0.0
    if not names or magnified <= 0:
        notes.append(
            f"the pixel size cannot be computed from the camera {model!r} and the magnification {magnification!r} in "
            "Settings.txt; give it with --pixel-nm"
        )
        return None
    pitch_nm = CAMERA_PIXELS_UM[max(names, key=len)] * 1e3 / magnified
    written = _value(text, r"Binning\s*:")
    binning = re.fullmatch(r"X=(\d+)\s*Y=(\d+)", written or "X=1 Y=1", re.IGNORECASE)
    if binning is None:
        raise InputError(f"{path} has {written!r} for the binning, expected e.g. 'X=1 Y=1'; correct it.")
    x, y = int(binning[1]), int(binning[2])
    return PixelSize(x_nm=round(pitch_nm * x, 3), y_nm=round(pitch_nm * y, 3))


def _value(text: str, key: str) -> str | None:
    """Return the value that follows a key at the beginning of a line."""
    found = re.search(rf"^{key}[ \t]*(.*?)\s*$", text, re.MULTILINE)
    return found[1].strip('"') if found and found[1] else None
