"""Simulated tables of twelve kinds of acquisition with a known drift, for `drift.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import PixelSize
from lls_decode.table import TableMetadata, schema, table_writer

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Random = np.random.Generator

FRAMES: Final = 10_000
SIGMA_NM: Final = (12.0, 12.0, 24.0)
_FIELD_NM: Final = 20_000.0
_FILAMENTS: Final = 12
_BEADS_NM: Final = ((3_000.0, 3_000.0), (15_000.0, 4_000.0), (9_000.0, 16_000.0))


@dataclass(frozen=True)
class Kind:
    """One kind of acquisition."""

    name: str
    make: Callable[[Random, Floats], dict[str, Any]]
    """Function that returns the columns of a table for a given drift of each frame."""
    drift: Callable[[Random], Floats]
    """Function that returns a drift, ``(FRAMES, 3)`` nm."""
    method: Literal["rcc", "fiducials"] = "rcc"


def smooth(random: Random) -> Floats:
    """Return a drift of about 150 nm that changes direction a few times."""
    t = np.linspace(0, 1, FRAMES)
    rate, phase, slope = random.uniform(1, 4, 3), random.uniform(0, 6, 3), random.uniform(-1, 1, 3)
    return np.asarray(150 * (np.sin(2 * t[:, None] * rate + phase) + t[:, None] * slope))


def jumping(random: Random) -> Floats:
    """Return a smooth drift with two jumps of about 100 nm."""
    steps = np.zeros((FRAMES, 3))
    for place in random.integers(FRAMES // 6, 5 * FRAMES // 6, 2):
        steps[place:] += random.normal(0, 100, 3)
    return smooth(random) + steps


def walking(random: Random) -> Floats:
    """Return a random walk of 1 nm per frame."""
    return np.asarray(np.cumsum(random.normal(0, 1.0, (FRAMES, 3)), axis=0))


def resting(random: Random) -> Floats:
    """Return a drift of zero."""
    del random
    return np.zeros((FRAMES, 3))


def evenly(count: int) -> Callable[[Random, Floats], dict[str, Any]]:
    """Return a function that makes localizations distributed evenly over the frames."""
    return lambda random, drift: columns(random, random.integers(0, FRAMES, count), drift)


def bleaching(random: Random, drift: Floats) -> dict[str, Any]:
    """Make localizations of which nearly all are in the first half of the frames."""
    frame = random.exponential(FRAMES / 8, 60_000).astype(np.int64)
    return columns(random, frame[frame < FRAMES], drift)


def gap(random: Random, drift: Floats) -> dict[str, Any]:
    """Make localizations with a gap between 30 and 70 % of the time."""
    early, late = random.integers(0, 3 * FRAMES // 10, 20_000), random.integers(7 * FRAMES // 10, FRAMES, 20_000)
    return columns(random, np.concatenate([early, late]), drift)


def long_on(random: Random, drift: Floats) -> dict[str, Any]:
    """Make localizations of molecules that stay on for ten frames on average."""
    number = 5_000
    length = np.minimum(random.geometric(0.1, number), 50)
    start = random.integers(0, FRAMES - 60, number)
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    place = np.repeat(filaments(random, number), length, axis=0)
    return columns(random, np.repeat(start, length) + within, drift, place)


def rebinding(random: Random, drift: Floats) -> dict[str, Any]:
    """Make localizations of 300 sites, each of them visited about fifty times for two frames."""
    sites = filaments(random, 300)
    visit = random.integers(0, len(sites), 15_000)
    frame = random.integers(0, FRAMES - 1, len(visit))
    return columns(random, np.concatenate([frame, frame + 1]), drift, sites[np.concatenate([visit, visit])])


def with_beads(*, loose: int | None = None, count: int = 3) -> Callable[[Random, Floats], dict[str, Any]]:
    """Return a function that adds beads, which are seen in most frames; a loose bead walks by 1 nm per frame."""

    def make(random: Random, drift: Floats) -> dict[str, Any]:
        frames = [random.integers(0, FRAMES, 15_000)]
        places = [filaments(random, len(frames[0]))]
        sigmas = [np.broadcast_to(SIGMA_NM, (len(frames[0]), 3))]
        for number, place in enumerate(_BEADS_NM[:count]):
            seen = np.flatnonzero(random.uniform(size=FRAMES) < 0.95)
            own = np.cumsum(random.normal(0, 1.0, (FRAMES, 3)), axis=0) if number == loose else np.zeros((FRAMES, 3))
            frames.append(seen)
            places.append(np.array([*place, 0.0]) + own[seen])
            sigmas.append(np.broadcast_to((3.0, 3.0, 6.0), (len(seen), 3)))
        return columns(random, np.concatenate(frames), drift, np.concatenate(places), np.concatenate(sigmas))

    return make


KINDS: Final = (
    Kind("steady", evenly(40_000), smooth),
    Kind("bleaching", bleaching, smooth),
    Kind("gap", gap, smooth),
    Kind("jumps", evenly(40_000), jumping),
    Kind("random walk", evenly(40_000), walking),
    Kind("long on-times", long_on, smooth),
    Kind("re-binding", rebinding, smooth),
    Kind("few rows", evenly(4_000), smooth),
    Kind("no drift", evenly(20_000), resting),
    Kind("beads", with_beads(), smooth, "fiducials"),
    Kind("one of three beads loose", with_beads(loose=1), smooth, "fiducials"),
    Kind("one of two beads loose", with_beads(loose=1, count=2), smooth, "fiducials"),
)


def filaments(random: Random, count: int) -> Floats:
    """Return random positions, ``(count, 3)`` nm, on twelve curved filaments that are the same for every call."""
    fixed = np.random.default_rng(7)
    start, angle = fixed.uniform(0, _FIELD_NM, (_FILAMENTS, 2)), fixed.uniform(0, 2 * np.pi, _FILAMENTS)
    swing, phase = fixed.uniform(200, 800, _FILAMENTS), fixed.uniform(0, 6, _FILAMENTS)
    which, along = random.integers(0, _FILAMENTS, count), random.uniform(0, 1, count)
    step, wave = _FIELD_NM * 0.7 * (along - 0.5), swing[which] * np.sin(6 * along + phase[which])
    x = start[which, 0] + np.cos(angle[which]) * step - np.sin(angle[which]) * wave
    y = start[which, 1] + np.sin(angle[which]) * step + np.cos(angle[which]) * wave
    return np.stack([x, y, 400 * np.sin(5 * along + 2 * phase[which])], axis=1)


def columns(
    random: Random,
    frame: Integers,
    drift: Floats,
    place: Floats | None = None,
    sigma: Floats | None = None,
) -> dict[str, Any]:
    """Return localizations at given places or on the filaments, moved by the drift, with errors of the given sigmas."""
    place = filaments(random, len(frame)) if place is None else place
    sigma = np.broadcast_to(SIGMA_NM, place.shape) if sigma is None else sigma
    seen = place + drift[frame] + sigma * random.standard_normal(place.shape)
    made = {f"{axis}_nm": seen[:, number] for number, axis in enumerate("xyz")}
    made |= {f"{axis}_sig": sigma[:, number] for number, axis in enumerate("xyz")}
    return {"frame": frame, "volume": frame, **made}


def write_kind(path: Path, made: dict[str, Any]) -> None:
    """Write columns as a table of a movie, in canonical order."""
    order = np.lexsort([made[name] for name in ("x_nm", "y_nm", "frame")])
    same = {"plane": 0, "photons": 1000, "bg": 20, "phot_sig": 50, "prob": 1, "group": -1}
    full = made | {name: np.full(len(order), value) for name, value in same.items()}
    kind = schema(with_sample=False)
    arrays = [pa.array(full[field.name][order].astype(field.type.to_pandas_dtype()), type=field.type) for field in kind]
    about = TableMetadata(pixel_size=PixelSize(x_nm=100.0, y_nm=100.0), planes_per_volume=1)
    with table_writer(path, kind, about) as writer:
        writer.write(pa.table(arrays, schema=kind))
