"""Colours of equal lightness for depth, so that brightness can show density; and conversion of light to bytes.

Colours are mixed in linear light: two structures behind each other show the mixture of their colours.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NUM_COLOURS: Final = 256
_OKABE_ITO: Final = {
    "sky blue": (86, 180, 233), "orange": (230, 159, 0), "bluish green": (0, 158, 115), "yellow": (240, 228, 66),
    "vermilion": (213, 94, 0), "reddish purple": (204, 121, 167), "blue": (0, 114, 178),
}  # fmt: skip
_FEW_CHANNELS: Final = {
    1: {"white": (255, 255, 255)},
    2: {"green": (0, 255, 0), "magenta": (255, 0, 255)},
    3: {"cyan": (0, 255, 255), "magenta": (255, 0, 255), "yellow": (255, 255, 0)},
}
LIT: Final = 1e-4
"""Light relative to the brightest pixel above which a pixel counts as lit."""
_LIGHTNESS, _CHROMA = 0.74, 0.155
_HUE_LOW_DEG, _HUE_HIGH_DEG = 282.0, 22.0


def depth_colours() -> Floats:
    """Return linear RGB ``(256, 3)``, 0 to 1: blue for the lowest z, through green and yellow, to red for the highest.

    The colours are equal steps of hue at one lightness in Ottosson's Oklab space (2020), as far as screens can show
    them.
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


def channel_colours(number: int) -> Floats:
    """Return linear RGB ``(number, 3)`` of channels that are distinguishable, also for colour-blind people.

    Green and magenta, or cyan, magenta and yellow, add up to white; more channels get the colours of Okabe and Ito
    (2008), repeatedly if necessary.
    """
    known = list(_FEW_CHANNELS.get(number, _OKABE_ITO).values())
    srgb = np.array([known[at % len(known)] for at in range(number)]) / 255
    return np.asarray(np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4))


def channel_names(number: int) -> tuple[str, ...]:
    """Return the names of `channel_colours`."""
    known = list(_FEW_CHANNELS.get(number, _OKABE_ITO))
    return tuple(known[at % len(known)] for at in range(number))


def white() -> Floats:
    """Return linear RGB ``(256, 3)`` that is white for every value."""
    return np.ones((NUM_COLOURS, 3))


def depth_index(z_nm: Floats, z_range_nm: tuple[float, float]) -> npt.NDArray[np.int64]:
    """Return the row of `depth_colours` for each z; z beyond the range gets the nearest end, unknown z the middle."""
    low, high = z_range_nm
    relative = (z_nm - low) / max(high - low, 1e-9)
    return np.rint(np.clip(np.nan_to_num(relative, nan=0.5), 0.0, 1.0) * (NUM_COLOURS - 1)).astype(np.int64)


def tone_map(light_3YX: npt.NDArray[np.float32], *, percentile: float, gamma: float) -> npt.NDArray[np.uint8]:
    """Convert light ``(3, Y, X)`` to sRGB bytes ``(Y, X, 3)``.

    The given percentile of the lit pixels gets full brightness; ``gamma`` below 1 brightens dim parts; hues are kept.
    """
    strength = light_3YX.max(axis=0)
    lit = strength[strength > strength.max() * LIT] if strength.size else strength
    full = np.float32(np.percentile(lit, percentile)) if lit.size else None
    return toned(light_3YX, full, gamma=gamma)


def toned(light_3YX: npt.NDArray[np.float32], full: np.float32 | None, *, gamma: float) -> npt.NDArray[np.uint8]:
    """Convert light to sRGB bytes, given the light that gets full brightness (None: there is no light)."""
    if full is None:
        return np.zeros((*light_3YX.shape[1:], 3), dtype=np.uint8)
    strength = light_3YX.max(axis=0)
    scale = np.divide(dimmed(strength, full, gamma=gamma), strength, out=np.zeros_like(strength), where=strength > 0)
    return to_srgb(light_3YX * scale).transpose(1, 2, 0)


def dimmed(light: npt.NDArray[np.float32], full: np.float32 | None, *, gamma: float) -> npt.NDArray[np.float32]:
    """Return light relative to full brightness, 0 to 1, with dim parts brightened; all dark if there is no light."""
    if full is None:
        return np.zeros_like(light)
    return np.asarray(np.clip(light / full, 0.0, 1.0) ** gamma, dtype=np.float32)


def to_srgb(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Convert linear light, 0 to 1, to bytes by the transfer curve of IEC 61966-2-1."""
    table = np.linspace(0.0, 1.0, 4097)
    table = np.where(table <= 0.0031308, 12.92 * table, 1.055 * table ** (1 / 2.4) - 0.055)
    encoded = np.rint(table * 255).astype(np.uint8)
    return encoded[np.rint(np.clip(linear, 0.0, 1.0) * 4096).astype(np.int64)]
