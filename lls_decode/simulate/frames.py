"""From molecules to camera counts: what a network is trained on, and what benchmark movies are made of.

Shape letters: ``S`` sequences, ``T`` frames of a sequence, ``Y X`` pixels, ``A`` activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lls_decode.config import SimulationConfig
from lls_decode.optics import CameraModel, draw_camera, expected_photons
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.simulate.background import draw_background
from lls_decode.simulate.molecules import Activations, expose, sample_molecules


@dataclass(frozen=True)
class SimulatedFrames:
    """Frames with their truth."""

    photons_STYX: Tensor
    """What the camera gives back as photons: noisy counts converted by the same camera, float32."""
    bg_STYX: Tensor
    """Expected background, photons per pixel."""
    activations: Activations
    """All light that was drawn, targets or not."""
    camera: CameraModel
    """That made the counts; maps of a drawn chip are ``(S, 1, Y, X)``."""


def simulate_frames(
    config: SimulationConfig,
    *,
    num_sequences: int,
    num_frames: int,
    height: int,
    width: int,
    generator: torch.Generator,
) -> SimulatedFrames:
    """Simulate sequences of frames of homogeneous emitters on the generator's device."""
    radius_px = stamp_radius_px(config.psf, config.emitters.z_rendered_nm, config.pixel_size)
    molecules = sample_molecules(
        config,
        num_sequences=num_sequences,
        num_frames=num_frames,
        height=height,
        width=width,
        margin_px=radius_px,
        generator=generator,
    )
    activations = expose(
        molecules,
        num_frames=num_frames,
        geometry=config.geometry,
        illumination=config.illumination,
        z_range_nm=config.emitters.z_rendered_nm,
    )
    bg_STYX = draw_background(config, num_sequences, num_frames, height, width, generator)
    camera = draw_camera(config.camera, (num_sequences, 1, height, width), generator)  # one chip region a sequence
    expected = draw_photons(config, activations, num_sequences, num_frames, height, width)
    photons = camera.to_photons(camera.to_adu(expected + bg_STYX, generator))
    return SimulatedFrames(photons, bg_STYX, activations, camera)


def draw_photons(
    config: SimulationConfig, activations: Activations, num_sequences: int, num_frames: int, height: int, width: int
) -> Tensor:
    """Expected photons of the activations, without background, ``(S, T, Y, X)``."""
    images = expected_photons(
        config.psf,
        frame=activations.sequence * num_frames + activations.frame,
        x_nm=activations.x_nm,
        y_nm=activations.y_nm,
        z_nm=activations.z_nm,
        photons=activations.photons,
        pixel=config.pixel_size,
        radius_px=stamp_radius_px(config.psf, config.emitters.z_rendered_nm, config.pixel_size),
        num_frames=num_sequences * num_frames,
        height=height,
        width=width,
    )
    return images.view(num_sequences, num_frames, height, width)
