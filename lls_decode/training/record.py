"""What a training says of itself: the scales of its network, and the record of the bundle that it makes."""

import math
import platform
from typing import Any

import torch

from lls_decode import __version__
from lls_decode.config import GaussianPsf, Scaling, TrainingConfig
from lls_decode.model.info import BundleInfo

_HEADROOM = 1.2
"""How far the scales reach beyond the largest values of training, lest these saturate the network's outputs."""


def choose_scaling(config: TrainingConfig) -> Scaling:
    """Network units from the simulated ranges; symmetric in z, so that no part of the range is out of reach."""
    s = config.simulation
    reach_nm = max(abs(s.emitters.z_range_nm[0]), abs(s.emitters.z_range_nm[1]))
    return Scaling(
        input_scale=max(s.emitters.photons_mean / 50.0, 1.0),
        input_offset=(s.background.low + s.background.high) / 2,
        photons=max(s.emitters.photons_mean + 5 * s.emitters.photons_sd, _HEADROOM * (config.brightest_photons or 0.0)),
        z_nm=_HEADROOM * reach_nm if reach_nm else 1.0,
        bg=max(_HEADROOM * config.background_extremes[1], 1.0),
        # against the shot noise of the background; read noise near 0 is that of no pixel, and of the padding
        noise_scale=max(math.sqrt((s.background.low + s.background.high) / 2), 1.0)
        if config.network.noise_map
        else 1.0,
    )


def bundle_info(
    config: TrainingConfig,
    scaling: Scaling,
    *,
    accuracy: dict[str, Any] | None = None,
    curve: list[dict[str, float]] | None = None,
    steps: int = 0,
    seconds: float = 0.0,
    licence: str = "BSD-3-Clause",
    provenance: dict[str, Any] | None = None,
) -> BundleInfo:
    """The record of the bundle that a training makes; ``provenance`` adds to what it says of the training."""
    s = config.simulation
    return BundleInfo(
        name=config.name,
        network=config.network,
        scaling=scaling,
        pixel_size=s.pixel_size,
        camera=s.camera.nominal(),
        psf=s.psf,
        geometry=s.geometry,
        z_range_nm=(0.0, 0.0) if isinstance(s.psf, GaussianPsf) else s.emitters.z_range_nm,
        photons_range=config.photons_range,
        bg_range=config.background_extremes,
        licence=licence,
        training={
            "configuration": config.to_dict(),
            "seed": config.seed,
            "steps": steps,
            "target_frames": steps * config.sequences * config.sequence_frames,
            "seconds": round(seconds),
            "accuracy": accuracy or {},
            "curve": curve or [],
            "software": {"lls_decode": __version__, "torch": torch.__version__, "python": platform.python_version()},
            **(provenance or {}),
        },
    )
