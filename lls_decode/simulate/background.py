"""Expected background: one level for each sequence, optionally with a texture that is fixed in the sample.

The texture is gradient noise: Perlin, "An image synthesizer", Computer Graphics 19 (1985), with the interpolation of
"Improving noise", ACM Transactions on Graphics 21 (2002), whose first and second derivatives vanish at the lattice, and
with gradients of unit length in all directions. At a point it is the sum over the corners c of its cell of

    fade(1 - |x - cx|) fade(1 - |y - cy|) fade(1 - |z - cz|) * gradient_c . (x - cx, y - cy, z - cz)

in units of the lattice. A corner's weight is a product of one factor per axis, so a plane of noise takes two small
matrix products and no lookups. The lattice is three-dimensional because the planes of a sweep cut the sample at
different places. Its origin is random in each sequence, so that no pixel lies on lattice points (where the noise is 0)
more often than others.

Shape letters: ``S`` sequences, ``T`` frames of a sequence, ``Y X`` pixels, ``K J I`` lattice points along z, y, x.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lls_decode.config import SimulationConfig, Variety
from lls_decode.simulate.molecules import log_uniform, steps_nm

LARGEST_NOISE = math.sqrt(3) / 2
"""Largest value of three-dimensional gradient noise with unit gradients, reached in the middle of a cell."""


def draw_background(
    config: SimulationConfig,
    num_sequences: int,
    num_frames: int,
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    variety: Variety | None = None,
) -> Tensor:
    """Return the expected background, photons per pixel, ``(S, T, Y, X)``.

    The level of a sequence is uniform over the configured range; with ``variety``, log-uniform over its extended range.
    """
    low, high = config.background.low, config.background.high
    if variety is not None and high > 0:
        level_S = log_uniform(variety.backgrounds(low, high), num_sequences, generator)
    else:
        level_S = low + (high - low) * torch.rand(num_sequences, generator=generator, device=generator.device)
    bg_STYX = level_S[:, None, None, None]
    if config.background.texture is not None:
        bg_STYX = bg_STYX * draw_texture(config, num_sequences, num_frames, height, width, generator)
    return bg_STYX.expand(num_sequences, num_frames, height, width)


def draw_texture(
    config: SimulationConfig, num_sequences: int, num_frames: int, height: int, width: int, generator: torch.Generator
) -> Tensor:
    """Draw the background relative to its level, ``(S, T, Y, X)``, between ``1 - contrast`` and ``1 + contrast``.

    ``T`` is 1 if the image plane does not move.
    """
    texture, pixel, device = config.background.texture, config.pixel_size, generator.device
    assert texture is not None
    T = num_frames if config.geometry is not None else 1
    axes: list[Tensor] = []
    corners: list[int] = []
    for step_nm, count, size_nm in zip(
        steps_nm(config.geometry), (width, height, 1), (pixel.x_nm, pixel.y_nm, 0.0), strict=True
    ):
        frame, place = torch.arange(T, device=device)[:, None], torch.arange(count, device=device)
        at = (frame * step_nm + place * size_nm) / texture.feature_nm
        axes.append(at - at.min())
        corners.append(math.floor(((T - 1) * abs(step_nm) + (count - 1) * size_nm) / texture.feature_nm) + 3)
    noise = _gradient_noise(axes, corners, num_sequences, generator)
    return 1 + (texture.contrast / LARGEST_NOISE) * noise


def _gradient_noise(
    axes: Sequence[Tensor], corners: Sequence[int], num_sequences: int, generator: torch.Generator
) -> Tensor:
    """Draw noise ``(S, T, Y, X)`` at non-negative coordinates along x ``(T, X)``, y ``(T, Y)`` and z ``(T, 1)``.

    Coordinates are in units of the lattice, which has ``corners`` points along each axis and a random origin.
    """
    device = generator.device
    origin_3S = torch.rand((3, num_sequences), generator=generator, device=device)
    gradient_3SKJI = torch.randn((3, num_sequences, *reversed(corners)), generator=generator, device=device)
    gradient_3SKJI = gradient_3SKJI / gradient_3SKJI.norm(dim=0)
    (x, x_slope), (y, y_slope), (z, z_slope) = (
        _corner_factors(at + origin[:, None, None], num)
        for at, origin, num in zip(axes, origin_3S, corners, strict=True)
    )

    def interpolate(x_STXI: Tensor, y_STYJ: Tensor, z_ST1K: Tensor, values_SKJI: Tensor) -> Tensor:
        values_STJI = (z_ST1K.squeeze(2) @ values_SKJI.flatten(2)).view(*z_ST1K.shape[:2], *values_SKJI.shape[2:])
        return y_STYJ @ values_STJI @ x_STXI.mT

    along_x, along_y, along_z = gradient_3SKJI
    noise = interpolate(x_slope, y, z, along_x)
    noise += interpolate(x, y_slope, z, along_y)
    noise += interpolate(x, y, z_slope, along_z)
    return noise


def _corner_factors(at: Tensor, num_corners: int) -> tuple[Tensor, Tensor]:
    """Return fade, and fade times distance, of each lattice point at each coordinate, ``(..., num_corners)``."""
    distance = at[..., None] - torch.arange(num_corners, device=at.device)
    t = (1 - distance.abs()).clamp_min(0)
    fade = t**3 * (t * (6 * t - 15) + 10)
    return fade, fade * distance
