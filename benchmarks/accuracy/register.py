"""Measure the accuracy of `register`: its error, the stated sigma, and their ratio, over several seeds.

    python -m benchmarks.accuracy.register [--seeds 10] [--kinds KIND ...]

The two tables of each pair show the same sample with different labelled molecules, and one is moved by
(180, -95, 640) nm and 2 degrees. The program prints one JSON line per kind of sample: the r.m.s. error of moved points
over the field (x, y, z), the stated sigma, the ratio of error and sigma (ideally 1), and how often registration was not
possible (``untold``).
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.errors import TableError
from lls_decode.register import Cloud, ModelName, Transformation, estimate
from lls_decode.register.models import rotation

Floats = npt.NDArray[np.float64]
Random = np.random.Generator

FIELD_NM: Final = 15_000.0
MIDDLE: Final = np.array([FIELD_NM / 2, FIELD_NM / 2, 0.0])
SHIFT: Final = np.array([180.0, -95.0, 640.0])
ANGLE_DEG: Final = 2.0
SIGMA: Final = np.array([12.0, 12.0, 30.0])


def clusters(random: Random) -> Floats:
    """Return binding sites in small clusters."""
    centre = np.column_stack([random.uniform(0, FIELD_NM, (180, 2)), random.uniform(-300, 300, 180)])
    which = random.integers(0, 180, 3600)
    return np.asarray(centre[which] + random.normal(0, 50, (3600, 3)))


def filaments(random: Random) -> Floats:
    """Return binding sites along bent lines."""
    found = []
    for _ in range(30):
        along = np.arange(random.integers(200, 600)) * 25.0
        angle = random.uniform(0, 2 * np.pi) + random.normal(0, 4e-5) * along
        x, y = random.uniform(0, FIELD_NM, 2)
        z = random.uniform(-250, 250) + 80 * np.sin(along / 2000)
        found.append(np.column_stack([x + np.cumsum(25 * np.cos(angle)), y + np.cumsum(25 * np.sin(angle)), z]))
    sites = np.concatenate(found)
    return np.asarray(sites[((sites[:, :2] > 0) & (sites[:, :2] < FIELD_NM)).all(axis=1)])


def single_sites(random: Random) -> Floats:
    """Return binding sites at random positions."""
    return np.column_stack([random.uniform(0, FIELD_NM, (2500, 2)), random.uniform(-300, 300, 2500)])


def beads(random: Random) -> Floats:
    """Return beads at random positions."""
    return np.column_stack([random.uniform(0, FIELD_NM, (20, 2)), random.uniform(-300, 300, 20)])


def of_molecules(sites: Floats, random: Random, labelled: float) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return localizations of labelled sites, and one stray localization for every ten of them, with their volumes."""
    place = sites[random.random(len(sites)) < labelled]
    place = np.repeat(place, random.poisson(3, len(place)), axis=0)
    place = place + random.normal(0, 1, place.shape) * SIGMA
    strays = np.column_stack(
        [random.uniform(0, FIELD_NM, (len(place) // 10, 2)), random.uniform(-300, 300, len(place) // 10)]
    )
    place = np.concatenate([place, strays])
    return place, random.integers(0, 1000, len(place))


def of_beads(sites: Floats, random: Random, labelled: float) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return localizations of a random part of the beads in 50 volumes, with their volumes."""
    there = sites[random.random(len(sites)) < labelled]
    which, volume = np.nonzero(random.random((len(there), 50)) < 0.9)
    return there[which] + random.normal(0, 1, (len(which), 3)) * SIGMA, volume


KINDS: Final[dict[str, tuple[Callable[[Random], Floats], Any, ModelName]]] = {
    "clusters, rigid": (clusters, of_molecules, "rigid"),
    "clusters, affine": (clusters, of_molecules, "affine"),
    "filaments, rigid": (filaments, of_molecules, "rigid"),
    "single sites, rigid": (single_sites, of_molecules, "rigid"),
    "beads, rigid": (beads, of_beads, "rigid"),
    "beads, affine": (beads, of_beads, "affine"),
}


def register_pair(kind: str, seed: int) -> tuple[Floats, Floats, Transformation]:
    """Register a simulated pair; return error and stated sigma of points over the field, ``(N, 3)`` nm, and the map."""
    make, observe, model = KINDS[kind]
    random = np.random.default_rng(seed)
    sites = make(random)
    (one, when), (other, then) = observe(sites, random, 0.8), observe(sites, random, 0.6)
    matrix = np.eye(3)
    matrix[:2, :2] = rotation(np.radians(ANGLE_DEG))
    moved = (other - MIDDLE) @ matrix.T + MIDDLE + SHIFT
    fixed, moving = (
        Cloud(name, place, volume.astype(np.int64), SIGMA, "raw", int(np.ptp(volume)) + 1)
        for name, place, volume in (("fixed", one, when), ("moving", moved, then))
    )
    found = estimate(fixed, moving, model=model)
    side = np.linspace(0, FIELD_NM, 5)
    at = np.array([[x, y, z] for x in side for y in side for z in (-200.0, 200.0)])
    return found.apply(at) - ((at - MIDDLE - SHIFT) @ matrix + MIDDLE), found.sigma_at(at), found


def main() -> None:
    """Print one line for each kind of sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    asked = parser.parse_args()
    for kind in asked.kinds:
        errors, sigmas, untold, begin = [], [], 0, time.perf_counter()
        for seed in range(asked.seeds):
            try:
                error, sigma, _ = register_pair(kind, seed)
            except TableError:
                untold += 1
                continue
            errors.append(error)
            sigmas.append(sigma)
        line: dict[str, Any] = {"benchmark": "register", "kind": kind, "seeds": asked.seeds, "untold": untold}
        if errors:
            error, sigma = np.array(errors), np.array(sigmas)
            line |= {
                "error_nm": np.sqrt((error**2).mean(axis=(0, 1))).round(3).tolist(),
                "sigma_nm": np.sqrt((sigma**2).mean(axis=(0, 1))).round(3).tolist(),
                "ratio": np.sqrt(((error / sigma) ** 2).mean(axis=(0, 1))).round(2).tolist(),
                "ratio_all": round(float(np.sqrt(((error / sigma) ** 2).mean())), 2),
            }
        line |= {
            "seconds_each": round((time.perf_counter() - begin) / asked.seeds, 1),
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
