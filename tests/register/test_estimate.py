"""Estimated transformations agree with known ones within their stated errors, or are refused as ambiguous."""

import numpy as np
import pytest

from lls_decode.errors import ConfigError, TableError
from lls_decode.register import Cloud, Transformation, estimate

from .conftest import FIELD_NM, SIGMA, Moved, clusters, filaments, lattice, seen

SCENES = {"clusters": clusters, "filaments": filaments}


def cloud(name: str, place: np.ndarray, *, volume: np.ndarray | None = None, axes: int = 3) -> Cloud:
    volume = np.zeros(len(place), dtype=np.int64) if volume is None else volume
    return Cloud(name, place[:, :axes], volume, SIGMA[:axes], "raw", int(np.ptp(volume)) + 1)


def off(found: Transformation, moved: Moved) -> np.ndarray:
    """Return position errors of transformed points across the field, in units of their stated uncertainty."""
    axes = len(found.pivot_nm)
    side = np.linspace(0, FIELD_NM, 4)
    at = np.array([[x, y, 100.0] for x in side for y in side])
    return (found.apply(at)[:, :axes] - moved.back(at)[:, :axes]) / found.sigma_at(at[:, :axes])


def check(found: Transformation, moved: Moved) -> None:
    assert np.sqrt(np.mean(off(found, moved) ** 2)) < 3
    assert abs(found.angle_deg + moved.angle_deg) < 4 * found.angle_sigma_deg + 1e-9
    assert np.max(found.error_nm) < 10


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_rigid_motion_is_estimated_within_its_uncertainty(scene: str, seed: int) -> None:
    random, moved = np.random.default_rng(seed), Moved()
    sites = SCENES[scene](random)
    fixed, moving = seen(sites, random), moved(seen(sites, random, labelled=0.4, visits=2, strays=0.3))
    found = estimate(cloud("fixed", fixed), cloud("moving", moving))
    assert found.method == "structure"
    check(found, moved)


@pytest.mark.parametrize(
    ("model", "moved"),
    [("shift", Moved(angle_deg=0)), ("affine", Moved(angle_deg=-1)), ("rigid", Moved(12.0, (3000.0, -2500.0, -300.0)))],
    ids=["shift", "affine", "large angle and shift"],
)
def test_other_models_and_large_motions_are_estimated(model: str, moved: Moved, random: np.random.Generator) -> None:
    sites = clusters(random)
    found = estimate(cloud("fixed", seen(sites, random)), cloud("moving", moved(seen(sites, random))), model=model)
    check(found, moved)


def test_a_motion_without_z_is_estimated(random: np.random.Generator) -> None:
    sites, moved = clusters(random), Moved(shift=(180.0, -95.0, 0.0))
    found = estimate(cloud("fixed", seen(sites, random)), cloud("moving", moved(seen(sites, random)), axes=2))
    assert len(found.pivot_nm) == 2
    check(found, moved)


NOTHING_IN_COMMON = {
    "other clusters": lambda random: (clusters(random), clusters(random)),
    "other filaments": lambda random: (filaments(random), filaments(random)),
    "a lattice": lambda random: (lattice(random),) * 2,
}


@pytest.mark.parametrize("scene", NOTHING_IN_COMMON)
def test_tables_without_a_unique_match_are_refused(scene: str, random: np.random.Generator) -> None:
    one, other = NOTHING_IN_COMMON[scene](random)
    fixed, moving = seen(one, random, labelled=1.0), Moved()(seen(other, random, labelled=1.0))
    with pytest.raises(TableError, match="The map between fixed and moving cannot be determined"):
        estimate(cloud("fixed", fixed), cloud("moving", moving))


def beads(random: np.random.Generator, number: int = 20) -> np.ndarray:
    return np.column_stack([random.uniform(0, FIELD_NM, (number, 2)), random.uniform(-300, 300, number)])


def seen_beads(places: np.ndarray, random: np.random.Generator, *, volumes: int = 40, strays: int = 100) -> tuple:
    """Return detections of beads in most volumes and of molecules anywhere, and the volume of each detection."""
    which, volume = np.nonzero(random.random((len(places), volumes)) < 0.9)
    place = places[which] + random.normal(0, 1, (len(which), 3)) * SIGMA
    other = np.column_stack([random.uniform(0, FIELD_NM, (strays, 2)), random.uniform(-300, 300, strays)])
    return np.concatenate([place, other]), np.concatenate([volume, random.integers(0, volumes, strays)])


@pytest.mark.parametrize("model", ["shift", "rigid", "affine"])
def test_beads_are_matched_and_give_correct_uncertainties(model: str) -> None:
    """Each table lacks some beads of the other; over many tables the error divided by sigma is about one."""
    ratios = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        moved, places = Moved(0.0 if model == "shift" else 2.0), beads(random)
        (one, when), (other, then) = seen_beads(places[:17], random), seen_beads(places[3:], random)
        found = estimate(cloud("f", one, volume=when), cloud("m", moved(other), volume=then), model=model)
        assert found.method == "beads"
        assert "matched" in found.support
        ratios.append(off(found, moved))
    assert 0.7 < np.sqrt(np.mean(np.square(ratios))) < 1.4


def test_unrelated_beads_are_refused() -> None:
    for seed in range(5):
        random = np.random.default_rng(seed)
        (one, when), (other, then) = (seen_beads(beads(random), random) for _ in range(2))
        with pytest.raises(TableError, match="may be by chance"):
            estimate(cloud("f", one, volume=when), cloud("m", other, volume=then))


def test_too_few_points_or_beads_are_refused(random: np.random.Generator) -> None:
    few = cloud("few", seen(clusters(random, number=3, sites=5), random))
    with pytest.raises(TableError, match=r"few has .* points, expected 200 or more"):
        estimate(few, few, method="structure")
    with pytest.raises(TableError, match="beads, expected 4 or more"):
        estimate(cloud("f", beads(random, 3)), cloud("m", beads(random, 3)), method="beads")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "bent"}, "'bent' is not a map"),
        ({"method": "magic"}, "'magic' is not a method"),
        ({"max_shift_nm": 0.0}, "max_shift_nm is 0"),
        ({"max_angle_deg": 200.0}, "expected 0 to 180"),
    ],
)
def test_impossible_options_are_refused(options: dict, says: str, random: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match=says):
        estimate(cloud("f", beads(random)), cloud("m", beads(random)), **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_shift_nm": 50.0}, "a shift of .*above 50 nm"),
        ({"max_angle_deg": 1.0}, r"a rotation of (1\.9\d*|2|2\.0\d*) degrees, above 1"),
    ],
)
def test_a_map_beyond_the_limits_is_refused(options: dict[str, object], says: str, random: np.random.Generator) -> None:
    """The search can end outside the limits that it began within."""
    sites = clusters(random, number=60)
    with pytest.raises(TableError, match=says):
        estimate(
            cloud("fixed", seen(sites, random)),
            cloud("moving", Moved()(seen(sites, random))),
            **options,  # type: ignore[arg-type]
        )
