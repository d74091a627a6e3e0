"""Simulation of frames from molecules to camera counts, for training and for benchmark movies.

Shape letters: ``S`` sequences, ``T`` frames of a sequence, ``Y X`` pixels, ``A`` activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lls_decode.config import SimulationConfig, Variety
from lls_decode.optics import CameraModel, PsfVariation, draw_camera, expected_photons
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.simulate.background import draw_background
from lls_decode.simulate.molecules import Activations, expose, sample_molecules


@dataclass(frozen=True)
class SimulatedFrames:
    """Simulated frames with their ground truth."""

    photons_STYX: Tensor
    """Frames in photons: noisy counts converted back to photons by the same camera, float32."""
    bg_STYX: Tensor
    """Expected background, photons per pixel."""
    activations: Activations
    """All simulated light, of targets and other emitters."""
    camera: CameraModel
    """Camera that made the counts; maps of a randomly drawn chip are ``(S, 1, Y, X)``."""


def simulate_frames(
    config: SimulationConfig,
    *,
    num_sequences: int,
    num_frames: int,
    height: int,
    width: int,
    generator: torch.Generator,
    variety: Variety | None = None,
) -> SimulatedFrames:
    """Simulate sequences of frames of homogeneous emitters on the generator's device.

    Without ``variety``, the frames have exactly the configured statistics, as benchmarks require.
    """
    radius_px = stamp_radius_px(config.psf, config.emitters.z_rendered_nm, config.pixel_size)
    molecules = sample_molecules(
        config,
        num_sequences=num_sequences,
        num_frames=num_frames,
        height=height,
        width=width,
        margin_px=radius_px,
        generator=generator,
        variety=variety,
    )
    activations = expose(
        molecules,
        num_frames=num_frames,
        geometry=config.geometry,
        illumination=config.illumination,
        z_range_nm=config.emitters.z_rendered_nm,
    )
    bg_STYX = draw_background(config, num_sequences, num_frames, height, width, generator, variety=variety)
    camera = draw_camera(config.camera, (num_sequences, 1, height, width), generator)  # one chip region per sequence
    variation = None if variety is None else draw_psf_variation(variety, num_sequences, generator)
    expected = draw_photons(config, activations, num_sequences, num_frames, height, width, variation_S=variation)
    photons = camera.to_photons(camera.to_adu(expected + bg_STYX, generator))
    return SimulatedFrames(photons, bg_STYX, activations, camera)


def draw_psf_variation(variety: Variety, num_sequences: int, generator: torch.Generator) -> PsfVariation | None:
    """Draw width and foci of the PSF of each sequence, relative to the configured ones; None: no variation."""
    if not variety.psf_width_sd and not variety.psf_focus_sd_nm:
        return None
    normal_3S = torch.randn((3, num_sequences), generator=generator, device=generator.device).clamp(-3, 3)
    width, focus_x, focus_y = normal_3S
    return PsfVariation(
        1 + variety.psf_width_sd * width, variety.psf_focus_sd_nm * focus_x, variety.psf_focus_sd_nm * focus_y
    )


def draw_photons(
    config: SimulationConfig,
    activations: Activations,
    num_sequences: int,
    num_frames: int,
    height: int,
    width: int,
    *,
    variation_S: PsfVariation | None = None,
) -> Tensor:
    """Return the expected photons of the activations, without background, ``(S, T, Y, X)``.

    ``variation_S`` is the deviation of each sequence's PSF from the configured PSF.
    """
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
        variation=None if variation_S is None else variation_S.at(activations.sequence),
    )
    return images.view(num_sequences, num_frames, height, width)
