"""Recalibrated sigmas match the errors under all conditions, and a calibration is stored in the bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lls_decode.config import (
    BackgroundConfig,
    Curve,
    ErrorCalibration,
    ErrorCorrelation,
    ReliabilityPoint,
    Scaling,
    SigmaCurve,
    SigmaTerm,
    Variety,
    parse,
)
from lls_decode.errors import ConfigError
from lls_decode.localize import Detections, recalibrate
from lls_decode.localize.calibrated import SIGMAS, calibrated, curve_at, error_features
from lls_decode.localize.place import physical_columns, place
from lls_decode.localize.recalibration.conditions import span_conditions
from lls_decode.localize.recalibration.correlation import measure_correlation
from lls_decode.localize.recalibration.fitting import fit_sigmas
from lls_decode.localize.recalibration.probability import fit_probability
from lls_decode.localize.recalibration.recalibrate import spread
from lls_decode.model.bundle import load_bundle, save_bundle
from lls_decode.model.network import LocNet
from lls_decode.pictures.calibration_figure import calibration_figure, describe_calibration
from lls_decode.training.record import bundle_info, choose_scaling

from .test_localizer import STAGE, find_all, localizer, network_config, random_network, stacks
from .test_place import PIXEL, SCALING, block, detections
from .test_sigmas import shorter
from .test_validate import training

Floats = npt.NDArray[np.float64]


def terms(**values: tuple[float, ...]) -> tuple[SigmaTerm, ...]:
    """Return terms over the same three knots."""
    return tuple(SigmaTerm(feature=name, knots=(-2.0, 0.0, 3.0), values=each) for name, each in values.items())  # type: ignore[arg-type]


CURVE = SigmaCurve(
    offset=0.1,
    terms=terms(
        sigma=(0.0, -0.5, -1.0),
        position=(0.0, 0.2, 0.4),
        near=(0.0, 0.1, 0.1),
        crowd=(0.0, 0.3, 0.9),
        bg=(-0.2, 0.0, 0.0),
    ),
)
CALIBRATION = ErrorCalibration(
    x=CURVE,
    y=CURVE.replace(offset=0.3),
    z=CURVE.replace(terms=terms(crowd=(0.0, 0.0, 0.7))),
    photons=SigmaCurve(offset=0.0, terms=()),
    prob=Curve(knots=(0.0, 0.5, 1.0), values=(0.0, 0.7, 0.98)),
    correlation=ErrorCorrelation(along="plane", x=(0.7, 0.3), y=(0.6,), z=()),
    conditions=49,
    reliability=(ReliabilityPoint(prob=0.7, right=0.72, num=100), ReliabilityPoint(prob=0.97, right=0.96, num=900)),
    spreads={"x": (0.9, 1.1), "photons": (0.8, 1.2)},
)


def some_detections(num: int = 300, **columns: Any) -> Detections:
    random = np.random.default_rng(4)
    values: dict[str, Any] = {
        name: random.uniform(0.02, 0.9, num).tolist()
        for name in ("x_sig", "y_sig", "z_sig", "photons_sig", "photons", "bg", "prob", "near", "crowd")
    }
    return detections(**(values | columns))


REFUSED = {
    "sigma decreases with crowding": ({"feature": "crowd", "knots": (0, 1), "values": (0.1, 0.0)}, "descends"),
    "sigma decreases with the predicted sigma": ({"feature": "sigma", "knots": (0, 1), "values": (0, -1)}, "descends"),
    "knots out of order": ({"feature": "bg", "knots": (1, 1), "values": (0, 0)}, "ascending order"),
    "too few values": ({"feature": "bg", "knots": (0, 1, 2), "values": (0, 0)}, "3 knots and 2 values"),
    "an unknown feature": ({"feature": "moon", "knots": (0, 1), "values": (0, 0)}, "feature"),
}


@pytest.mark.parametrize(("term", "words"), REFUSED.values(), ids=REFUSED)
def test_invalid_calibrations_are_refused(term: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(SigmaTerm, term, source="a bundle")


def test_calibrated_columns_equal_the_closed_form() -> None:
    """The factor of a sigma is the exponential of the offset plus the terms at the features."""
    found = some_detections(3)
    before = physical_columns(found, SCALING, PIXEL)
    after = physical_columns(found, SCALING.replace(calibration=CALIBRATION), PIXEL)
    log = {name: np.log(before[name].astype(float)) for name in ("x_sig", "y_sig", "z_sig")}
    at = {
        "sigma": log["x_sig"],
        "position": sum(log.values()) / 3,
        "near": np.log(found.near + 0.03) - np.log(before["photons"]),
        "crowd": np.log(found.crowd + 0.1),
        "bg": np.log(before["bg"]),
    }
    factor = 0.1 + sum(np.interp(at[term.feature], term.knots, term.values) for term in CURVE.terms)
    np.testing.assert_allclose(after["x_sig"], before["x_sig"] * np.exp(factor), rtol=1e-5)
    np.testing.assert_allclose(after["prob"], np.interp(before["prob"], (0, 0.5, 1), (0, 0.7, 0.98)), rtol=1e-5)
    assert after["phot_sig"].tolist() == before["phot_sig"].tolist()
    for name in ("x_nm", "y_nm", "z_nm", "photons", "bg"):
        assert after[name] is before[name] or after[name].tolist() == before[name].tolist()


def test_a_model_without_calibration_keeps_its_sigmas_and_probabilities() -> None:
    found = some_detections()
    columns = physical_columns(found, SCALING.replace(x_sig=1.5), PIXEL)
    np.testing.assert_array_equal(columns["x_sig"], (found.x_sig * (1.5 * PIXEL.x_nm)).astype(np.float32))
    np.testing.assert_array_equal(columns["prob"], found.prob)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["x_sig", "y_sig", "z_sig", "near", "crowd", "bg"]),
    factor=st.floats(1.01, 20.0),
)
def test_calibrated_sigmas_never_decrease_with_their_features(name: str, factor: float) -> None:
    scaling = SCALING.replace(calibration=CALIBRATION)
    found = some_detections()
    more = replace(found, **{name: getattr(found, name) * np.float32(factor)})
    before, after = (physical_columns(each, scaling, PIXEL) for each in (found, more))
    for sigma in SIGMAS.values():
        assert (after[sigma] >= before[sigma] * np.float32(1 - 1e-5)).all()
    if name.endswith("_sig"):
        assert (after[name] > before[name]).all()


def test_curves_are_constant_beyond_their_outer_knots() -> None:
    curve = Curve(knots=(0.0, 1.0, 4.0), values=(1.0, 2.0, 2.5))
    x = np.array([-9, 0, 0.5, 1, 2.5, 4, 99], dtype=np.float32)
    np.testing.assert_allclose(curve_at(x, curve), [1, 1, 1.5, 2, 2.25, 2.5, 2.5], rtol=1e-6)


def test_a_bundle_keeps_its_calibration(tmp_path: Path) -> None:
    config = training()
    scaling = choose_scaling(config).replace(calibration=CALIBRATION)
    save_bundle(tmp_path / "a.lls", LocNet(config.network), bundle_info(config, scaling))
    found = load_bundle(tmp_path / "a.lls").info.scaling
    assert found == scaling
    assert found.uncalibrated == choose_scaling(config)
    older = bundle_info(config, scaling).to_dict()
    del older["scaling"]["calibration"]
    assert parse(Scaling, older["scaling"], source="an older bundle").calibration is None


@pytest.mark.parametrize("compute", [{"tile_px": 56}, {"tile_px": 37, "batch_px": 1}])
def test_calibrated_rows_do_not_depend_on_tiles_and_batches(compute: dict[str, int]) -> None:
    bundle = random_network(network_config("plane", 3))
    scaling = bundle.info.scaling.replace(calibration=CALIBRATION)
    bundle = replace(bundle, info=bundle.info.replace(scaling=scaling))
    assert find_all(bundle)
    whole, cut = (
        [localizer(bundle, **how).run(stack).to_pandas() for stack in stacks("plane", 100)] for how in ({}, compute)
    )
    for one, other in zip(whole, cut, strict=True):
        keys = ["frame", "x_nm", "y_nm"]
        both = one.round({"x_nm": 1, "y_nm": 1}).merge(other.round({"x_nm": 1, "y_nm": 1}), on=keys)
        assert len(both) > 0.98 * len(one)  # except pixels within rounding of a threshold
        for name in ("x_sig", "y_sig", "z_sig", "phot_sig", "prob"):
            np.testing.assert_allclose(both[f"{name}_x"], both[f"{name}_y"], rtol=2e-3)


def law(num: int, seed: int) -> tuple[Detections, dict[str, Any], Floats, npt.NDArray[np.int64]]:
    """Return detections with constant predicted sigmas and errors that grow with crowding, in 20 conditions."""
    random = np.random.default_rng(seed)
    condition = np.arange(num) % 20
    crowd = random.exponential(0.02 * 1.4**condition)
    found = some_detections(num, crowd=crowd.tolist(), near=0.0, x_sig=0.1, y_sig=0.1, z_sig=0.1)
    columns = physical_columns(found, SCALING, PIXEL)
    sigma = 10.0 * np.sqrt(0.4 + crowd)
    error = sigma * random.standard_t(8, num) * np.sqrt(6 / 8)
    return found, columns, error, condition


def test_fitted_sigmas_match_errors_that_grow_with_crowding() -> None:
    """Sigmas are right under each condition, for errors that were not used in the fit."""
    found, columns, error, condition = law(20_000, 1)
    curve = fit_sigmas(error_features(columns, found, "x", with_z=True), columns["x_sig"], error, condition)
    quiet = SigmaCurve(offset=0.0, terms=())
    calibration = ErrorCalibration(x=curve, y=quiet, z=quiet, photons=quiet, conditions=20)
    found, columns, error, condition = law(20_000, 2)
    before = [spread(error[condition == k] / columns["x_sig"][condition == k]) for k in range(20)]
    sigma = calibrated(columns, found, calibration)["x_sig"]
    after = [spread(error[condition == k] / sigma[condition == k]) for k in range(20)]
    assert min(before) < 0.75
    assert max(before) > 2.5
    assert 0.9 < min(after) < max(after) < 1.1


def test_the_correlation_of_errors_is_measured() -> None:
    random = np.random.default_rng(1)
    num, length = 2000, 5
    apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    rho = np.array([1.0, 0.6, 0.3, 0.0, 0.0])[apart]
    ratio = random.multivariate_normal(np.zeros(length), rho, num).ravel()
    molecule, window = np.repeat(np.arange(num) % 1000, length), np.tile(np.arange(length), num)
    condition = np.repeat(np.arange(num) // 1000, length)
    seen = random.uniform(size=len(ratio)) < 0.8
    order = random.permutation(np.flatnonzero(seen))
    found = measure_correlation(
        {"x": ratio[order], "y": -ratio[order]}, condition[order], molecule[order], window[order], context="time"
    )
    assert found.along == "time"
    assert found.x[:2] == pytest.approx((0.6, 0.3), abs=0.04)
    assert all(value < 0.06 for value in found.x[2:])
    assert found.y == found.x
    assert found.z == ()


def test_calibrated_probability_is_the_share_of_true_detections() -> None:
    random = np.random.default_rng(2)
    prob = np.minimum(random.uniform(0.4, 1.2, 20_000), 1.0)
    right = random.uniform(size=len(prob)) < 0.3 + 0.65 * prob**2
    curve = fit_probability(prob, right, np.ones(len(prob)))
    assert curve is not None
    for value in (0.5, 0.7, 0.9, 1.0):
        assert np.interp(value, curve.knots, curve.values) == pytest.approx(0.3 + 0.65 * value**2, abs=0.03)
    assert (curve.knots[0], curve.values[0]) == (0.0, 0.0)
    assert fit_probability(prob[:20], right[:20], np.ones(20)) is None


def test_simulated_conditions_span_the_range_of_training() -> None:
    config = training().replace(validation_frames=400, variety=None)
    config = config.replace(
        simulation=config.simulation.replace(
            background=BackgroundConfig(low=5.0, high=50.0),
            emitters=config.simulation.emitters.replace(density_spread=0.8, photons_sd=1000.0),
        )
    )
    found = span_conditions(config, 20_000)
    assert found[-1].simulation == config.simulation
    assert len(found) == 49
    for values, low, high in (
        ([each.simulation.emitters.density_per_um2 for each in found[:-1]], 0.04, 0.54),
        ([each.simulation.emitters.photons_mean for each in found[:-1]], 1000.0, 5000.0),
        ([each.simulation.background.low for each in found[:-1]], 5.0, 50.0),
    ):
        assert low <= min(values) < low * (high / low) ** 0.1
        assert low * (high / low) ** 0.9 < max(values) <= high
    assert sum(each.validation_frames for each in found) < 64 * 49
    wide = span_conditions(config.replace(variety=Variety()), 20_000)
    assert max(each.simulation.emitters.photons_mean for each in wide[:-1]) > 9000.0
    assert max(each.simulation.background.low for each in wide[:-1]) > 60.0
    one = wide[0].variety
    assert one is not None
    assert (one.sparse_share, one.any_light_share, one.background) == (0.0, 0.0, 1.0)
    assert one.psf_focus_sd_nm == Variety().psf_focus_sd_nm


def test_recalibration_is_reproducible(tmp_path: Path) -> None:
    old = shorter(tmp_path)
    for name in ("a.lls", "b.lls"):
        made = recalibrate(old, tmp_path / name, emitters=2500)
    assert (tmp_path / "a.lls").read_bytes() == (tmp_path / "b.lls").read_bytes()
    known = made.scaling.calibration
    assert known is not None
    assert known.z is None
    assert known.prob is not None
    assert known.correlation is not None
    assert known.correlation.along == "time"
    assert 0.2 < known.correlation.x[0] < 0.95
    again = recalibrate(tmp_path / "a.lls", tmp_path / "c.lls", emitters=2500)
    assert again.scaling == made.scaling, "an existing calibration is ignored"


def test_a_calibration_is_described_and_drawn(tmp_path: Path) -> None:
    text = "\n".join(describe_calibration(CALIBRATION))
    assert "x 0.90 to 1.10" in text
    assert "along plane: x 0.70 0.30; y 0.60" in text
    assert "0.700  0.720         100" in text
    calibration_figure(tmp_path / "a.png", CALIBRATION, title="test")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_a_block_are_calibrated() -> None:
    table = place(
        some_detections(6, window=0), block("plane"), scaling=SCALING.replace(calibration=CALIBRATION), pixel=PIXEL,
        geometry=STAGE,
    )  # fmt: skip
    assert max(table["prob"].to_pylist()) <= 0.98
