"""Scales of the network of a training, and the record of the bundle that a training writes."""

import math
import platform
from typing import Any

import torch

from lls_decode import __version__
from lls_decode.config import GaussianPsf, Scaling, TrainingConfig
from lls_decode.model.info import BundleInfo

_HEADROOM = 1.2
"""Ratio of the scales to the largest training values, so that these do not saturate the network's outputs."""


def choose_scaling(config: TrainingConfig) -> Scaling:
    """Return the network units for the simulated ranges; z is symmetric and covers the whole range."""
    s = config.simulation
    reach_nm = max(abs(s.emitters.z_range_nm[0]), abs(s.emitters.z_range_nm[1]))
    return Scaling(
        input_scale=max(s.emitters.photons_mean / 50.0, 1.0),
        input_offset=(s.background.low + s.background.high) / 2,
        photons=max(s.emitters.photons_mean + 5 * s.emitters.photons_sd, _HEADROOM * (config.brightest_photons or 0.0)),
        z_nm=_HEADROOM * reach_nm if reach_nm else 1.0,
        bg=max(_HEADROOM * config.background_extremes[1], 1.0),
        # in units of the background's shot noise; only padding has a read noise near 0
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
    """Return the record of the bundle of a training; ``provenance`` adds entries to its ``training`` section."""
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
