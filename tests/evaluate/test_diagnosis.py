"""Diagnosis names and measures mistakes in a truth table, and reports none for tables that match."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lls_decode.config import PixelSize
from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError
from lls_decode.evaluate import score
from lls_decode.evaluate.coverage import FrameCoverage
from lls_decode.evaluate.diagnosis import PLANE_ORDERS, TruthChange, diagnose
from lls_decode.evaluate.diagnosis.remainder import _is_opposite

PIXEL = PixelSize(x_nm=110.0, y_nm=110.0)
SIZE = 20_000.0
PLANES = 10


def tables(
    seed: int,
    *,
    frames: int = 200,
    per_frame: int = 6,
    on: int = 1,
    places: str = "anywhere",
    recall: float = 0.85,
    false: float = 0.1,
    sigma: float = 20.0,
    bias: float = 0.0,
    with_z: bool = True,
) -> tuple[Emitters, Emitters]:
    """Return a truth and a matching table, in which molecules stay on for ``on`` frames."""
    random = np.random.default_rng(seed)
    num = frames * per_frame // on
    x, y = {
        "anywhere": lambda: random.uniform(0, SIZE, (2, num)),
        "grid": lambda: random.integers(0, 20, (2, num)) * 1000.0 + 500,
        "few sites": lambda: random.uniform(0, SIZE, (2, 8))[:, random.integers(0, 8, num)],
        "lines": lambda: np.stack([random.integers(0, 10, num) * 2000.0 + 300, random.uniform(0, SIZE, num)]),
    }[places]()
    molecule = np.repeat(np.arange(num), on)
    frame = np.repeat(random.integers(0, frames - on + 1, num), on) + np.tile(np.arange(on), num)
    order = np.argsort(frame, kind="stable")
    molecule, frame = molecule[order], frame[order]
    columns = {"frame": frame, "x_nm": x[molecule], "y_nm": y[molecule], "id": molecule}
    columns["photons"] = random.gamma(4, 400, num)[molecule]
    if with_z:
        columns["z_nm"] = random.uniform(-400, 400, num)[molecule]
    truth = Emitters.from_columns(columns)
    hit = truth.select(random.random(len(truth)) < recall)
    seen = replace(
        hit,
        x_nm=hit.x_nm + bias + random.normal(0, sigma, len(hit)),
        y_nm=hit.y_nm + random.normal(0, sigma, len(hit)),
        z_nm=hit.z_nm + random.normal(0, 2 * sigma, len(hit)),
        photons=hit.photons * random.normal(1, 0.1, len(hit)),
    )
    lost = int(false * len(hit))
    wrong = {name: random.uniform(0, SIZE, lost) for name in ("x_nm", "y_nm", "photons")}
    wrong |= {"z_nm": random.uniform(-400, 400, lost)} if with_z else {}
    spurious = Emitters.from_columns({**wrong, "frame": random.integers(0, frames, lost)})
    return truth, Emitters.concatenate([seen, spurious])


def named(truth: Emitters, found: Emitters, **options: Any) -> list[str]:
    return [cause.name for cause in diagnose(truth, found, pixel=PIXEL, **options).causes]


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Callable[[Emitters], Emitters]:
    return lambda t: replace(t, x_nm=t.x_nm + x, y_nm=t.y_nm + y, z_nm=t.z_nm + z)


def later(by: int) -> Callable[[Emitters], Emitters]:
    return lambda t: replace(t, frame=t.frame + by)


def exchanged(t: Emitters) -> Emitters:
    return replace(t, x_nm=t.y_nm, y_nm=t.x_nm)


def scaled(by: float, z: float = 1.0) -> Callable[[Emitters], Emitters]:
    return lambda t: replace(t, x_nm=t.x_nm * by, y_nm=t.y_nm * by, z_nm=t.z_nm * z)


def transposed(t: Emitters) -> Emitters:
    volumes = -(-(int(t.frame.max()) + 1) // PLANES)
    return replace(t, frame=t.frame % PLANES * volumes + t.frame // PLANES)


MISTAKES: dict[str, tuple[Callable[[Emitters], Emitters], list[str]]] = {
    "frames from 1": (later(1), ["frames"]),
    "frames from -1": (later(-1), ["frames"]),
    "five frames later": (later(5), ["frames"]),
    "another part of the movie": (later(4000), ["frames"]),
    "x and y exchanged": (exchanged, ["axes exchanged"]),
    "x mirrored": (lambda t: replace(t, x_nm=SIZE - PIXEL.x_nm - t.x_nm), ["x mirrored"]),
    "y mirrored about 0": (lambda t: replace(t, y_nm=-t.y_nm), ["y mirrored"]),
    "rotated by 180": (lambda t: replace(t, x_nm=SIZE - t.x_nm, y_nm=SIZE - t.y_nm), ["x mirrored", "y mirrored"]),
    "corner of the pixel": (moved(55, 55), ["place"]),
    "half a pixel in x": (moved(-55, 0), ["place"]),
    "pixels from 1": (moved(110, 110), ["place"]),
    "a region of the chip": (moved(64 * 110, -32 * 110), ["place"]),
    "pixel of 108 nm": (scaled(108 / 110), ["scale"]),
    "pixel of 160 nm": (scaled(160 / 110), ["scale"]),
    "in pixels": (scaled(1 / 110), ["scale"]),
    "in micrometres": (scaled(1e-3, 1e-3), ["scale", "z scale"]),
    "z offset": (moved(z=120), ["z offset"]),
    "large z offset": (moved(z=-900), ["z offset"]),
    "z mirrored": (lambda t: replace(t, z_nm=-t.z_nm), ["z mirrored"]),
    "z without refractive index": (scaled(1, 1.4), ["z scale"]),
    "z is 0": (lambda t: replace(t, z_nm=0 * t.z_nm), ["missing z"]),
    "photons in counts": (lambda t: replace(t, photons=t.photons * 2.1), ["photons"]),
    "planes in reverse": (lambda t: replace(t, frame=t.frame // PLANES * PLANES + 9 - t.frame % PLANES), ["planes"]),
    "plane by plane": (transposed, ["planes"]),
    "ThunderSTORM for ours": (lambda t: moved(55, 55)(later(1)(t)), ["frames", "place"]),
    "MATLAB for Python": (lambda t: exchanged(moved(110, 110)(later(1)(t))), ["frames", "axes exchanged", "place"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_named_and_the_advice_undoes_it(mistake: str) -> None:
    truth, found = tables(0)
    make, causes = MISTAKES[mistake]
    right = score(truth, found, method="greedy").jaccard
    wrong = make(truth)
    result = diagnose(wrong, found, pixel=PIXEL, planes_per_volume=PLANES, photons_per_count=1 / 2.1)
    assert [cause.name for cause in result.causes] == causes
    # following the advice restores the score, and every cause that is named has an effect
    assert result.after.jaccard == pytest.approx(right, abs=0.005)
    undone = result.change.apply(wrong, planes_per_volume=PLANES)
    for name in ("x_nm", "y_nm", "z_nm"):
        if not np.isnan(getattr(undone, name)).any():
            assert np.abs(getattr(undone, name) - getattr(truth, name)).max() < 12, name
    assert (undone.frame == truth.frame).all()
    assert undone.photons == pytest.approx(truth.photons, rel=0.03)
    for cause in result.causes:
        assert cause.options in result.options or len(result.causes) > 1
        assert cause.before != cause.after
    assert result.lines()[-1] == "None of these corrections is applied to the scores."


@pytest.mark.parametrize(
    "mistake", ["frames from 1", "x and y exchanged", "corner of the pixel", "pixel of 108 nm", "z mirrored"]
)
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param({"frames": 5, "per_frame": 400}, id="dense"),
        pytest.param({"on": 10}, id="long on-times"),
        pytest.param({"frames": 30, "per_frame": 1, "false": 0.0, "recall": 1.0}, id="thirty rows"),
        pytest.param({"places": "few sites"}, id="few sites"),
        pytest.param({"places": "lines"}, id="lines"),
        pytest.param({"recall": 0.5, "false": 0.6, "sigma": 35.0}, id="a poor table"),
    ],
)
def test_mistakes_are_named_for_tables_of_all_kinds(mistake: str, kind: dict[str, Any]) -> None:
    truth, found = tables(3, **kind)
    make, causes = MISTAKES[mistake]
    assert named(make(truth), found) == causes


CORRECT: dict[str, dict[str, Any]] = {
    "sparse": {},
    "dense": {"frames": 4, "per_frame": 400},
    "few emitters": {"frames": 10, "per_frame": 1},
    "thirty": {"frames": 30, "per_frame": 1},
    "long on-times": {"on": 8},
    "a grid": {"places": "grid"},
    "few sites": {"places": "few sites", "frames": 60},
    "lines": {"places": "lines"},
    "poor": {"recall": 0.2, "false": 3.0, "sigma": 60.0},
    "biased by a model": {"bias": 8.0},
    "two-dimensional": {"with_z": False},
}


@pytest.mark.parametrize("kind", CORRECT)
def test_matching_tables_give_no_cause(kind: str) -> None:
    for seed in range(3):
        truth, found = tables(100 + seed, **CORRECT[kind])
        result = diagnose(truth, found, pixel=PIXEL, planes_per_volume=PLANES)
        assert result.causes == (), (seed, result.lines())
        assert result.options == ""


def test_small_matching_tables_give_no_cause() -> None:
    for seed in range(60):
        truth, found = tables(seed, frames=8 + seed % 30, per_frame=1)
        result = diagnose(truth, found, pixel=PIXEL)
        assert result.causes == (), (seed, result.lines())


def test_a_table_is_its_own_truth() -> None:
    truth, _ = tables(7, frames=50)
    assert named(truth, truth) == []


def test_unrelated_tables_give_no_cause() -> None:
    for seed in range(4):
        truth, _ = tables(seed)
        _, found = tables(1000 + seed, places="lines" if seed % 2 else "anywhere")
        assert named(truth, found) == []


def test_the_advice_includes_changes_already_applied() -> None:
    truth, found = tables(1)
    wrong = exchanged(later(1)(truth))
    start = TruthChange(axes=("y", "x", "z"))
    result = diagnose(wrong, found, pixel=PIXEL, start=start, first_frame=1)
    assert [cause.name for cause in result.causes] == ["frames"]
    assert result.options == "--truth-first-frame=2 --truth-axes=y,x,z"


def test_a_table_of_some_frames_is_judged_in_its_frames_only() -> None:
    truth, found = tables(2)
    part = found.select((found.frame >= 50) & (found.frame < 120))
    coverage = FrameCoverage(((50, 120),), "these")
    assert named(truth, part, coverage=coverage) == []
    assert named(later(-50)(truth), part, coverage=coverage) == ["frames"]


REGION = ((5000.0, 13_000.0), (6000.0, 15_000.0))


def in_region(rows: Emitters) -> Emitters:
    return rows.select(FrameCoverage((), "", region_nm=REGION).in_region(rows))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_run_of_a_region_is_judged_in_its_region_only(mistake: str) -> None:
    """The truth covers whole frames; its rows outside the region of the run are neither missed nor matched."""
    truth, found = tables(4, per_frame=12)
    make, causes = MISTAKES[mistake]
    coverage = FrameCoverage(((0, 200),), "these", region_nm=REGION)
    options: dict[str, Any] = {"coverage": coverage, "pixel": PIXEL, "planes_per_volume": PLANES}
    right = score(in_region(truth), in_region(found), method="greedy").jaccard
    for table in (in_region(found), found):  # rows outside the region do not count either
        result = diagnose(make(truth), table, **options)
        assert [cause.name for cause in result.causes] == causes
        assert result.after.jaccard == pytest.approx(right, abs=0.01)


def test_a_run_of_a_region_and_a_matching_truth_give_no_cause() -> None:
    coverage = FrameCoverage(((0, 200),), "these", region_nm=REGION)
    for seed in range(3):
        truth, found = tables(40 + seed, per_frame=12)
        right = score(in_region(truth), in_region(found), method="greedy").jaccard
        result = diagnose(truth, found, coverage=coverage, pixel=PIXEL, planes_per_volume=PLANES)
        assert result.causes == ()
        assert result.before.jaccard == pytest.approx(right, abs=1e-12)


def test_a_factor_comes_without_a_translation_that_only_stands_in_for_it() -> None:
    """Far from the origin, another pixel size looks like a shift until the factor is fitted."""
    truth, found = tables(4, per_frame=20)
    coverage = FrameCoverage(((0, 200),), "these", region_nm=REGION)
    result = diagnose(scaled(108 / 110)(truth), in_region(found), coverage=coverage, pixel=PIXEL)
    assert [cause.name for cause in result.causes] == ["scale"]


def test_a_truth_counted_from_the_corner_of_the_region_is_named() -> None:
    truth, found = tables(5, per_frame=20)
    coverage = FrameCoverage(((0, 200),), "these", region_nm=REGION)
    part = moved(-REGION[0][0], -REGION[1][0])(in_region(truth))
    assert named(part, in_region(found), coverage=coverage) == ["place"]


def test_a_truth_that_ends_early_in_the_region_is_noted() -> None:
    truth, found = tables(6, per_frame=20)
    coverage = FrameCoverage(((0, 200),), "these", region_nm=REGION)
    outside = truth.select(~FrameCoverage((), "", region_nm=REGION).in_region(truth))
    early = in_region(truth).select(in_region(truth).frame < 100)
    result = diagnose(Emitters.concatenate([early, outside]), in_region(found), coverage=coverage, pixel=PIXEL)
    assert result.causes == ()
    assert "--frames 0:100" in result.notes[0]


def test_a_truth_that_ends_early_is_noted() -> None:
    truth, found = tables(2)
    result = diagnose(truth.select(truth.frame < 100), found, pixel=PIXEL)
    assert result.causes == ()
    assert "--frames 0:100" in result.notes[0]


def test_missing_depth_is_noted() -> None:
    truth, found = tables(2)
    flat = replace(truth, z_nm=np.full(len(truth), np.nan))
    assert "The truth has no z" in diagnose(flat, found, pixel=PIXEL).notes[0]
    none = replace(found, z_nm=np.full(len(found), np.nan))
    assert "The table has no z" in diagnose(truth, none, pixel=PIXEL).notes[0]
    assert diagnose(flat, none, pixel=PIXEL).notes == ()


@pytest.mark.parametrize("empty", ["truth", "found"])
def test_empty_tables_give_no_cause(empty: str) -> None:
    truth, found = tables(0, frames=5)
    none = truth.select(np.zeros(len(truth), dtype=bool))
    result = diagnose(none if empty == "truth" else truth, none if empty == "found" else found)
    assert result.causes == ()


def test_changes_compose_and_invert() -> None:
    random = np.random.default_rng(0)
    truth, _ = tables(0, frames=40)
    for _ in range(20):
        one, other = (
            TruthChange(
                frame_shift=int(random.integers(-3, 4)),
                axes=("-y", "x", "-z") if random.random() < 0.5 else ("x", "-y", "z"),
                scale=float(random.uniform(0.5, 2)),
                z_scale=float(random.uniform(0.5, 2)),
                shift_nm=(float(random.normal()), 5.0, -7.0),
                photons_factor=2.0,
            )
            for _ in range(2)
        )
        both, together = other.apply(one.apply(truth)), one.then(other).apply(truth)
        for name in ("frame", "x_nm", "y_nm", "z_nm", "photons"):
            assert getattr(both, name) == pytest.approx(getattr(together, name))
    for planes in PLANE_ORDERS:
        change = TruthChange(frame_shift=-2, planes=planes)
        frame = np.arange(2, 42)
        assert (change.unmap_frames(change.map_frames(frame, PLANES, 4), PLANES, 4) == frame).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"axes": ("x", "x", "z")}, "expected x and y in either order", id="one axis twice"),
        pytest.param({"axes": ("z", "y", "x")}, "expected x and y in either order", id="z not last"),
        pytest.param({"scale": 0.0}, "expected a number above 0", id="scale of zero"),
        pytest.param({"planes": "shuffled"}, "expected one of", id="unknown order"),
    ],
)
def test_invalid_changes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TruthChange(**values)


def test_reordering_planes_is_refused_for_one_plane_per_volume() -> None:
    truth, _ = tables(0, frames=5)
    with pytest.raises(ConfigError, match="one plane per volume"):
        TruthChange(planes="reversed").apply(truth)


@pytest.mark.parametrize("correlation", [1.0, -1.0])
def test_a_perfect_correlation_of_z_has_a_definite_sign(correlation: float) -> None:
    """Student's t is infinite for it: a table that is compared with itself."""
    assert _is_opposite(correlation, 100) == (correlation < 0)
