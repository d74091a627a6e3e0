"""Colours for depth, of equal lightness, so that brightness can mean density; and light to bytes.

Mixing is done in linear light: two structures behind each other give the mixture of their colours.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NUM_COLOURS: Final = 256
_LIGHTNESS, _CHROMA = 0.74, 0.155
_HUE_LOW_DEG, _HUE_HIGH_DEG = 282.0, 22.0


def depth_colours() -> Floats:
    """``(256, 3)`` linear RGB, 0 to 1: blue for the lowest z, over green and yellow, to red for the highest.

    Equal steps of hue at one lightness in Ottosson's Oklab space (2020), as far as a screen can show it.
    """
    hue = np.radians(np.linspace(_HUE_LOW_DEG, _HUE_HIGH_DEG, NUM_COLOURS))
    a, b = _CHROMA * np.cos(hue), _CHROMA * np.sin(hue)
    long = (_LIGHTNESS + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (_LIGHTNESS - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (_LIGHTNESS - 0.0894841775 * a - 1.2914855480 * b) ** 3
    rgb = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=1,
    )
    return np.clip(rgb, 0.0, 1.0)


def white() -> Floats:
    """``(256, 3)`` linear RGB that tells nothing apart."""
    return np.ones((NUM_COLOURS, 3))


def depth_index(z_nm: Floats, z_range_nm: tuple[float, float]) -> npt.NDArray[np.int64]:
    """Row of `depth_colours` for each z; z beyond the range gets the colour of its end, unknown z the middle."""
    low, high = z_range_nm
    relative = (z_nm - low) / max(high - low, 1e-9)
    return np.rint(np.clip(np.nan_to_num(relative, nan=0.5), 0.0, 1.0) * (NUM_COLOURS - 1)).astype(np.int64)


def tone_map(light_3YX: npt.NDArray[np.float32], *, percentile: float, gamma: float) -> npt.NDArray[np.uint8]:
    """``(3, Y, X)`` light to ``(Y, X, 3)`` sRGB bytes.

    The given percentile of the lit pixels becomes full brightness; ``gamma`` below 1 lifts what is dim; hue stays.
    """
    strength = light_3YX.max(axis=0)
    lit = strength[strength > strength.max() * 1e-4] if strength.size else strength
    if not lit.size:
        return np.zeros((*light_3YX.shape[1:], 3), dtype=np.uint8)
    relative = np.clip(strength / np.percentile(lit, percentile), 0.0, 1.0)
    scale = np.divide(relative**gamma, strength, out=np.zeros_like(strength), where=strength > 0)
    return to_srgb(light_3YX * scale).transpose(1, 2, 0)


def to_srgb(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Linear light, 0 to 1, to bytes, by the transfer curve of IEC 61966-2-1."""
    table = np.linspace(0.0, 1.0, 4097)
    table = np.where(table <= 0.0031308, 12.92 * table, 1.055 * table ** (1 / 2.4) - 0.055)
    encoded = np.rint(table * 255).astype(np.uint8)
    return encoded[np.rint(np.clip(linear, 0.0, 1.0) * 4096).astype(np.int64)]
