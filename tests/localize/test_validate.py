"""Validation scores a network on new frames, processed as users' frames are."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lls_decode.axes import ContextKind
from lls_decode.config import (
    AstigmaticPsf,
    BackgroundConfig,
    EmitterConfig,
    Geometry,
    NetworkConfig,
    PixelSize,
    ScmosCamera,
    ScmosChip,
    SimulationConfig,
    TrainingConfig,
)
from lls_decode.localize import build_validator
from lls_decode.localize.validate import _SEED
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.simulate import simulate_batch
from lls_decode.training.record import bundle_info, choose_scaling


def training(context: ContextKind = "time", **changes: Any) -> TrainingConfig:
    return TrainingConfig(
        name="test",
        simulation=SimulationConfig(
            pixel_size=PixelSize(x_nm=100.0, y_nm=100.0),
            psf=AstigmaticPsf(
                sigma_x_nm=130.0,
                sigma_y_nm=130.0,
                focus_x_nm=-220.0,
                focus_y_nm=220.0,
                depth_x_nm=300.0,
                depth_y_nm=300.0,
            ),
            camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0),
            emitters=EmitterConfig(
                density_per_um2=0.2, photons_mean=3000.0, photons_sd=0.0, on_time_frames=3.0, z_range_nm=(-400.0, 400.0)
            ),
            background=BackgroundConfig(low=5.0, high=5.0),
            geometry=Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8) if context == "plane" else None,
        ),
        network=NetworkConfig(filters=4, context=context, shift_px=3 if context == "plane" else 0),
        steps=1,
        validation_frames=32,
        **changes,
    )


class BrightestPixels(LocNet):
    """Network that detects each pixel brighter than its neighbours and than ten times the background."""

    def decode(self, features_TDYX: torch.Tensor, windows_N3: torch.Tensor) -> OutputMaps:
        frames = features_TDYX[windows_N3[:, 1], 0]
        smooth = nn.functional.avg_pool2d(frames[:, None], 3, 1, 1)
        peak = (smooth == nn.functional.max_pool2d(smooth, 5, 1, 2))[:, 0] & (smooth[:, 0] > 0.6)
        zero = torch.zeros_like(frames)
        return OutputMaps(torch.where(peak, 8.0, -8.0), zero, zero, zero, *[zero] * 6)

    decode_sparsely = decode  # type: ignore[assignment]

    def encode(self, frames_TYX: torch.Tensor, noise_TYX: torch.Tensor | None = None) -> torch.Tensor:
        return frames_TYX[:, None]


@pytest.mark.parametrize("context", ["none", "time", "plane"])
def test_validation_frames_and_truth_match(context: ContextKind) -> None:
    """Even a crude detector is mostly right to within a pixel, if it gets the right frames."""
    config = training(context)
    info = bundle_info(config, choose_scaling(config))
    score = build_validator(config)(BrightestPixels(config.network), info)
    assert score.num_truth > 100
    assert score.precision > 0.8
    assert score.recall > 0.4
    assert score.rmse_lateral_nm < 100
    assert abs(score.bias_x_nm) < 15
    assert abs(score.bias_y_nm) < 15


CHIP = ScmosChip(
    offset_adu=100.0,
    offset_sd_adu=3.0,
    gain_adu_per_e=2.0,
    gain_sd_adu_per_e=0.1,
    variance_adu2=5.0,
    variance_spread=0.4,
    hot_fraction=0.02,
)


class WatchesNoise(BrightestPixels):
    """Network that records its input frames and noise maps."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.shown: list[tuple[torch.Tensor, torch.Tensor | None]] = []

    def encode(self, frames_TYX: torch.Tensor, noise_TYX: torch.Tensor | None = None) -> torch.Tensor:
        self.shown.append((frames_TYX, noise_TYX))
        return super().encode(frames_TYX, noise_TYX)


@pytest.mark.parametrize("context", ["time", "plane"])
def test_networks_with_a_noise_map_get_that_of_each_sequence(context: ContextKind) -> None:
    """A network that ignores the noise map has the same score as one without it."""
    plain = training(context)
    plain = plain.replace(simulation=plain.simulation.replace(camera=CHIP))
    mapped = plain.replace(network=plain.network.replace(noise_map=True))
    info = bundle_info(mapped, choose_scaling(mapped))
    finder = WatchesNoise(mapped.network)
    score = build_validator(mapped)(finder, info)
    unmapped = build_validator(plain)(BrightestPixels(plain.network), bundle_info(plain, choose_scaling(plain)))
    np.testing.assert_equal(asdict(score), asdict(unmapped))
    assert len(finder.shown) == 4, "32 windows in sequences of eight"
    batch = simulate_batch(
        mapped.simulation,
        context=context,
        num_sequences=4,
        sequence_frames=8,
        height=64,
        width=64,
        generator=torch.Generator().manual_seed(_SEED),
        variety=mapped.variety,
    )
    frames, noise = batch.inputs(info.scaling, noise_map=True)
    assert noise is not None
    assert noise.std() > 0.3
    for shown, *expected in zip(finder.shown, frames.chunk(4), noise.chunk(4), strict=True):
        torch.testing.assert_close(shown[0], expected[0])
        torch.testing.assert_close(shown[1].expand_as(expected[1]), expected[1])


def test_a_network_that_finds_nothing_has_a_score_of_zero() -> None:
    config = training()
    network = LocNet(config.network).eval()
    nn.init.constant_(network.heads["probability"].out_conv.bias, -1000.0)
    score = build_validator(config)(network, bundle_info(config, choose_scaling(config)))
    assert (score.num_found, score.jaccard, score.efficiency) == (0, 0.0, 0.0)
    assert math.isnan(score.rmse_lateral_nm)


def test_validation_frames_do_not_depend_on_seed_and_learning_rate() -> None:
    """Equal frames make the learning curves of different trainings comparable."""
    info = bundle_info(training(), choose_scaling(training()))
    finder = BrightestPixels(training().network)
    first = build_validator(training())(finder, info)
    second = build_validator(training(seed=7, learning_rate=1e-4))(finder, info)
    np.testing.assert_equal(asdict(second), asdict(first))
