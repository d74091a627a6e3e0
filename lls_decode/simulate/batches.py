"""Simulated training batches: frames, windows over them, and the targets of each window.

Shape letters: ``T`` frames (all sequences), ``N`` windows (target frames), ``E`` target emitters, ``Y X`` pixels.

A batch holds sequences of consecutive target frames with one frame of context at each end, so that each frame is
encoded once in training, too. In 15 % of the sequences an end is the end of the acquisition, without context.

Emitters with too little light, outside the target range of z or outside the field are rendered and are no targets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lls_decode.axes import ContextKind
from lls_decode.config import Scaling, SimulationConfig, Variety
from lls_decode.simulate.frames import SimulatedFrames, simulate_frames
from lls_decode.simulate.molecules import Activations

_EDGE_SHARE = 0.15
"""Fraction of sequences whose first window emulates the start of an acquisition; equal for last window and end."""


@dataclass(frozen=True)
class Targets:
    """Emitters that the network should find, in network units; all arrays (E,) except the background."""

    window: Tensor
    x_px: Tensor
    y_px: Tensor
    z: Tensor
    photons: Tensor
    bg_NYX: Tensor
    """Background of each window, in network units."""


@dataclass(frozen=True)
class TrainingBatch:
    """Input and targets of one training step."""

    photons_TYX: Tensor
    read_noise_TYX: Tensor | None
    """Read noise of the simulated cameras, photons r.m.s.; None if the camera does not support noise maps."""
    windows_N3: Tensor
    activations: Activations
    """Targets in the windows' own frames; ``sequence`` is the index of the window, ``frame`` is 0."""
    bg_NYX: Tensor
    """Expected background of the windows' own frames, photons per pixel."""

    def inputs(self, scaling: Scaling, *, noise_map: bool) -> tuple[Tensor, Tensor | None]:
        """Return the inputs of `LocNet.encode` in network units: frames and, if requested, their read noise."""
        frames = (self.photons_TYX - scaling.input_offset) / scaling.input_scale
        if not noise_map:
            return frames, None
        assert self.read_noise_TYX is not None, "TrainingConfig has checked it"
        return frames, (self.read_noise_TYX - scaling.noise_offset) / scaling.noise_scale

    def targets(self, scaling: Scaling, simulation: SimulationConfig) -> Targets:
        """Return the targets in network units."""
        a, pixel = self.activations, simulation.pixel_size
        return Targets(
            window=a.sequence,
            x_px=a.x_nm / pixel.x_nm,
            y_px=a.y_nm / pixel.y_nm,
            z=a.z_nm / scaling.z_nm,
            photons=a.photons / scaling.photons,
            bg_NYX=self.bg_NYX / scaling.bg,
        )


def simulate_batch(
    config: SimulationConfig,
    *,
    context: ContextKind,
    num_sequences: int,
    sequence_frames: int,
    height: int,
    width: int,
    generator: torch.Generator,
    variety: Variety | None = None,
) -> TrainingBatch:
    """Simulate one batch of new frames; every target frame is a target once.

    With ``variety``, the frames vary beyond the configured values.
    """
    if context != "plane":
        config = config.replace(geometry=None)  # the image plane does not move between frames of a sequence
    T, L = sequence_frames + (0 if context == "none" else 2), sequence_frames
    simulated = simulate_frames(
        config,
        num_sequences=num_sequences,
        num_frames=T,
        height=height,
        width=width,
        generator=generator,
        variety=variety,
    )
    first = 0 if context == "none" else 1
    device = generator.device
    this = torch.arange(num_sequences, device=device)[:, None] * T + torch.arange(first, first + L, device=device)
    previous, following = this, this
    if context != "none":
        previous, following = this - 1, this + 1
        begins = torch.rand(num_sequences, generator=generator, device=device) < _EDGE_SHARE
        ends = torch.rand(num_sequences, generator=generator, device=device) < _EDGE_SHARE
        previous[begins, 0] = this[begins, 0]
        following[ends, -1] = this[ends, -1]
    windows = torch.stack([previous, this, following], dim=-1).reshape(-1, 3)

    seen = simulated.activations
    emitters, pixel = config.emitters, config.pixel_size
    x_px, y_px = seen.x_nm / pixel.x_nm, seen.y_nm / pixel.y_nm
    is_target = (
        (seen.frame >= first)
        & (seen.frame < first + L)
        & (seen.photons >= emitters.photons_min)
        & (seen.z_nm >= emitters.z_range_nm[0])
        & (seen.z_nm <= emitters.z_range_nm[1])
        & (x_px >= -0.5)
        & (x_px < width - 0.5)
        & (y_px >= -0.5)
        & (y_px < height - 0.5)
    )
    seen = seen.select(is_target)
    own = Activations(
        sequence=seen.sequence * L + seen.frame - first,
        frame=torch.zeros_like(seen.frame),
        molecule=seen.molecule,
        x_nm=seen.x_nm,
        y_nm=seen.y_nm,
        z_nm=seen.z_nm,
        photons=seen.photons,
    )
    return TrainingBatch(
        photons_TYX=simulated.photons_STYX.reshape(num_sequences * T, height, width),
        read_noise_TYX=_read_noise(simulated),
        windows_N3=windows,
        activations=own,
        bg_NYX=simulated.bg_STYX[:, first : first + L].reshape(-1, height, width),
    )


def _read_noise(simulated: SimulatedFrames) -> Tensor | None:
    """Return the read noise maps ``(S*T, Y, X)`` of the camera of each frame; None if it does not support them."""
    if simulated.camera.config.NOISE_MAP is None:
        return None
    return simulated.camera.read_noise.expand_as(simulated.photons_STYX).flatten(0, 1)
