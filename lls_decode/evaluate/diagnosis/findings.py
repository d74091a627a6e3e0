"""Probable mistakes between a truth and a table, each with its measured size and the options that correct it."""

import math
from dataclasses import dataclass, replace
from typing import Any

from lls_decode.config import PixelSize
from lls_decode.evaluate.diagnosis.change import TruthChange
from lls_decode.evaluate.diagnosis.remainder import half_pixels
from lls_decode.evaluate.diagnosis.sample import Marks


@dataclass(frozen=True)
class Cause:
    """One probable mistake, and the scores with and without it while all other causes are undone."""

    name: str
    """``frames``, ``planes``, ``axes exchanged``, ``x mirrored``, ``y mirrored``, ``scale``, ``place``,
    ``z mirrored``, ``z scale``, ``z offset``, ``missing z``, ``photons``, or ``truth ends``."""
    words: str
    """Description of the mistake, with its measured size."""
    options: str
    """Options of ``lls-decode evaluate`` that undo only this cause."""
    before: Marks
    after: Marks

    def describe(self) -> str:
        """Return one sentence: the cause, the gain from undoing it, and what to do."""
        return f"{self.words}. Without it: {gain(self.before, self.after)}. Use {self.options}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "cause": self.name,
            "words": self.words,
            "options": self.options,
            "before": vars(self.before),
            "after": vars(self.after),
        }


@dataclass(frozen=True)
class Diagnosis:
    """Probable mistakes between a truth and a table. None of them is corrected."""

    causes: tuple[Cause, ...]
    """Probable mistakes; empty if none was found."""
    notes: tuple[str, ...]
    """Limits of the comparison that are not mistakes, such as a two-dimensional truth."""
    change: TruthChange
    """Change that undoes all causes, on top of changes already applied to the truth."""
    options: str
    """All options for the next evaluation, including those already given; empty without causes."""
    before: Marks
    after: Marks
    num_frames: int
    """Number of frames in which the scores were measured."""
    num_rows: int
    """Number of rows of the table in these frames."""
    is_sampled: bool
    """Whether these are only a part of all rows."""

    def lines(self) -> list[str]:
        """Return sentences for text and picture: notes, causes, and all causes together."""
        lines = [f"Note: {note}." for note in self.notes]
        lines += [f"Likely cause: {cause.describe()}." for cause in self.causes]
        if len(self.causes) > 1:
            lines.append(
                f"All together: {gain(self.before, self.after)} with {self.options or 'none of the --truth options'}."
            )
        if self.causes and self.is_sampled:
            lines.append(f"(Measured on {self.num_rows} rows in {self.num_frames} frames chosen at random.)")
        if self.causes:
            lines.append("None of these corrections is applied to the scores.")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "causes": [cause.to_dict() for cause in self.causes],
            "notes": list(self.notes),
            "options": self.options,
            "change": self.change.to_dict(),
            "before": vars(self.before),
            "after": vars(self.after),
            "num_frames": self.num_frames,
            "num_rows": self.num_rows,
            "is_sampled": self.is_sampled,
        }


def gain(before: Marks, after: Marks) -> str:
    """Return the changes in words: the Jaccard index, and each other score that changes by a tenth or more."""
    words = [f"Jaccard {before.jaccard:.3f} -> {after.jaccard:.3f}"]
    for name, unit, label in (
        ("rmse_lateral_nm", " nm", "lateral r.m.s.e."),
        ("rmse_axial_nm", " nm", "axial r.m.s.e."),
        ("photon_ratio", "", "photon ratio"),
    ):
        old, new = getattr(before, name), getattr(after, name)
        if math.isfinite(new) and not abs(new - old) <= 0.1 * abs(old):
            words.append(f"{label} {_number(old)} -> {_number(new)}{unit}")
    return ", ".join(words)


@dataclass(frozen=True)
class Wording:
    """Context that the sentences need besides the change itself."""

    total: TruthChange
    """Change for the next evaluation: the described change combined with the one already requested."""
    first_frame: int
    """Number of the first frame in the format of the truth."""
    pixel: PixelSize | None
    photons_per_count: float | None = None
    """Photons per camera count, if known."""

    @property
    def shift(self) -> str:
        """Option that moves the truth."""
        return "--truth-shift-nm " + " ".join(f"{value:.6g}" for value in self.total.shift_nm)

    @property
    def axes(self) -> str:
        """Option that names the axes of the truth."""
        return f"--truth-axes={','.join(self.total.axes)}"


Part = tuple[str, str, str, TruthChange]
"""Name of a cause, its description, the options that undo it, and the change that undoes all other causes."""


def split(change: TruthChange, wording: Wording) -> list[Part]:
    """Split a change into causes."""
    parts = [*_frames(change, wording), *_axes(change, wording)]
    if change.scale != 1:
        parts.append(_scale(change, wording))
    mirrored = any(axis.startswith("-") for axis in change.axes[:2])
    if change.shift_nm[:2] != (0.0, 0.0) and not mirrored:
        parts.append(_place(change, wording))
    parts += _depth(change, wording)
    if change.photons_factor != 1:
        parts.append(_photons(change, wording))
    return parts


def _frames(change: TruthChange, wording: Wording) -> list[Part]:
    parts: list[Part] = []
    if change.frame_shift:
        first = wording.first_frame - wording.total.frame_shift
        words = (
            f"Frame numbers of the truth are off by {-change.frame_shift:+d} from those of the table: "
            f"the first frame is number {first}, not {first + change.frame_shift}"
        )
        parts.append(("frames", words, f"--truth-first-frame={first}", replace(change, frame_shift=0)))
    if change.planes != "as_is":
        words = {
            "reversed": "The truth numbers the planes of a volume from the last to the first",
            "alternating": "The truth numbers the planes of every second volume from the last to the first",
            "transposed": "The truth numbers its frames plane by plane, all volumes of one plane first",
        }[change.planes]
        parts.append(("planes", words, f"--truth-planes={change.planes}", replace(change, planes="as_is")))
    return parts


def _axes(change: TruthChange, wording: Wording) -> list[Part]:
    parts: list[Part] = []
    x, y, z = change.axes
    if x.endswith("y"):
        shift = (change.shift_nm[1], change.shift_nm[0], change.shift_nm[2])
        without = replace(change, axes=(y, x, z), shift_nm=shift)
        parts.append(("axes exchanged", "x and y are exchanged in the truth", wording.axes, without))
    for number, axis in enumerate("xy"):
        if change.axes[number].startswith("-"):
            axes, shifts = list(change.axes), list(change.shift_nm)
            axes[number], shifts[number] = axes[number][1:], 0.0
            place = f"{change.shift_nm[number]:.1f} nm minus the true one"
            words = f"The {axis} axis of the truth is mirrored: {axis} of the table is {place}"
            without = replace(change, axes=(axes[0], axes[1], axes[2]), shift_nm=(shifts[0], shifts[1], shifts[2]))
            parts.append((f"{axis} mirrored", words, f"{wording.axes} {wording.shift}", without))
    return parts


def _scale(change: TruthChange, wording: Wording) -> Part:
    factor, pixel = change.scale, wording.pixel
    words = f"Positions of the table are {factor:.4g} times those of the truth: another pixel size"
    if not 0.2 < factor < 5:
        words = (
            f"Positions of the table are {factor:.4g} times those of the truth: pixels or micrometres in place of nm"
        )
    elif pixel is not None:
        words += f" ({pixel.x_nm:g} nm in the table against {pixel.x_nm / factor:.4g} nm in the truth)"
    return "scale", words, f"--truth-scale={wording.total.scale:.6g}", replace(change, scale=1.0)


def _place(change: TruthChange, wording: Wording) -> Part:
    x, y, z = change.shift_nm
    words = f"The table is offset from the truth by {x:+.1f} nm in x and {y:+.1f} nm in y"
    halves = half_pixels((x, y), wording.pixel)
    if halves is not None:
        sizes = {abs(number) for number in halves if number}
        if sizes == {1}:
            words += ", half a pixel: one counts from the centre of the first pixel, the other from its corner"
        elif sizes == {2}:
            words += ", one pixel: one counts pixels from 0, the other from 1"
        else:
            words += f", {halves[0] / 2:g} and {halves[1] / 2:g} pixels: another region of the camera"
    else:
        words += ": another origin"
    return "place", words, wording.shift, replace(change, shift_nm=(0.0, 0.0, z))


def _depth(change: TruthChange, wording: Wording) -> list[Part]:
    parts: list[Part] = []
    if change.ignore_z:
        words = "The truth has the same z in all rows, but the table has not: the truth has no z"
        return [("missing z", words, "--ignore-z", replace(change, ignore_z=False))]
    if change.axes[2] == "-z":
        without = replace(change, axes=(*change.axes[:2], "z"))
        parts.append(("z mirrored", "The z of the truth has the opposite sign", wording.axes, without))
    if change.z_scale != 1:
        words = f"The z of the table is {change.z_scale:.4g} times that of the truth: another unit or refractive index"
        option = f"--truth-z-scale={wording.total.z_scale:.6g}"
        parts.append(("z scale", words, option, replace(change, z_scale=1.0)))
    if change.shift_nm[2]:
        words = f"The z of the table is offset from that of the truth by {change.shift_nm[2]:+.1f} nm: another z = 0"
        parts.append(("z offset", words, wording.shift, replace(change, shift_nm=(*change.shift_nm[:2], 0.0))))
    return parts


def _photons(change: TruthChange, wording: Wording) -> Part:
    factor, ratio = change.photons_factor, wording.photons_per_count
    words = f"The table has {factor:.3g} times the photons of the truth (median): another unit"
    if ratio is not None and abs(math.log(factor / ratio)) < 0.1:
        words += f"; the truth is probably in camera counts of {ratio:.3g} photons each"
    else:
        words += ", such as camera counts or electrons"
    option = f"--truth-photons-factor={wording.total.photons_factor:.4g}"
    return "photons", words, option, replace(change, photons_factor=1.0)


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3g}"
