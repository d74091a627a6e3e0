"""Dark pictures with scale and colour bars; matplotlib is imported only when one is drawn."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from lls_decode import drawing
from lls_decode.drawing import new_figure
from lls_decode.pictures.canvas import DepthCanvas, Image
from lls_decode.pictures.colours import NUM_COLOURS, depth_colours, to_srgb
from lls_decode.table import written_aside

_DPI = 100
_LIGHT_PIXEL_NM = 100.0
_DIM = "#9aa0a6"


def demo_figure(
    out: str | Path,
    *,
    light: Mapping[str, npt.ArrayLike],
    truth: Mapping[str, npt.ArrayLike],
    found: Mapping[str, npt.ArrayLike],
    title: str,
    pixel_nm: float = 20.0,
    sigma_nm: float = 15.0,
) -> None:
    """Draw light of the raw frames, truth and localizations side by side, from above (xy) and from the side (xz).

    Parameters
    ----------
    out
        Path of a ``.png``.
    light
        ``x_nm``, ``y_nm``, ``z_nm`` and ``weight`` of every camera pixel: what is visible without single molecules.
    truth, found
        ``x_nm``, ``y_nm``, ``z_nm`` in the same coordinates (those of the sample, if known).
    pixel_nm, sigma_nm
        Pixel size of the pictures, and sigma of the Gaussian drawn for every emitter.
    """
    points = [{axis: np.asarray(table[f"{axis}_nm"], dtype=np.float64) for axis in "xyz"} for table in (truth, found)]
    limits = {axis: _limits(points[0][axis], points[1][axis], margin=4 * pixel_nm) for axis in "xyz"}
    everything = points[0]["z"] if len(points[0]["z"]) else points[1]["z"]
    z_low, z_high = np.percentile(everything, [1, 99]) if len(everything) else (0.0, 1.0)
    width, height, depth = (limits[axis][1] - limits[axis][0] for axis in "xyz")
    column = 4.4
    tall, flat = column * min(max(height / width, 0.3), 2.0), column * min(max(depth / width, 0.15), 2.0)
    gap, head, foot, side = 0.12, 0.95, 0.12, 1.05
    total_wide, total_tall = 3 * column + 4 * gap + side, head + tall + gap + flat + foot
    figure = dark_figure(total_wide, total_tall)

    def place(number: int, bottom: float, size: float) -> Any:
        left = gap + number * (column + gap)
        return figure.add_axes((left / total_wide, bottom / total_tall, column / total_wide, size / total_tall))

    seen = {name: np.asarray(values, dtype=np.float64) for name, values in light.items()}
    for across, down, bottom, size in (("x", "y", foot + flat + gap, tall), ("x", "z", foot, flat)):
        axes = place(0, bottom, size)
        mean = _mean_light(seen[f"{across}_nm"], seen[f"{down}_nm"], seen["weight"], (limits[across], limits[down]))
        show_image(axes, grey(mean[::-1] if down == "z" else mean))
        corner_label(axes, across + down)
        if down == "y":
            name_above(axes, "mean of all frames")
    for number, (table, name) in enumerate(zip(points, ("truth", "localizations"), strict=True), start=1):
        for across, down, bottom, size in (("x", "y", foot + flat + gap, tall), ("x", "z", foot, flat)):
            canvas = DepthCanvas(
                pixel_nm=pixel_nm, extent_nm=(limits[across], limits[down]), z_range_nm=(float(z_low), float(z_high))
            )
            canvas.add(table[across], table[down], table["z"], sigma_nm=sigma_nm)
            image = canvas.image()
            axes = place(number, bottom, size)
            show_image(axes, image[::-1] if down == "z" else image)
            corner_label(axes, across + down)
            if down == "y":
                name_above(axes, f"{name}   {len(table['x']):,}")
            if number == 1:
                scale_bar(axes, pixel_nm)
    middle = foot + (flat + gap + tall) / 2
    colour_bar(
        figure,
        ((total_wide - side + 0.22) / total_wide, (middle - 1.5) / total_tall, 0.14 / total_wide, 3.0 / total_tall),
        (float(z_low), float(z_high)),
    )
    figure.text(gap / total_wide, 1 - 0.2 / total_tall, title, color="white", fontsize=15, va="top", weight="bold")
    save_png(figure, Path(out))


def _limits(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], *, margin: float) -> tuple[float, float]:
    """Return the limits of the first values (the truth), or of the second if the first are empty."""
    values = first if len(first) else second
    return (float(values.min()) - margin, float(values.max()) + margin) if len(values) else (0.0, 1000.0)


def _mean_light(
    across: npt.NDArray[np.float64],
    down: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    limits: tuple[tuple[float, float], tuple[float, float]],
) -> npt.NDArray[np.float64]:
    """Return the mean weight of the camera pixels in each pixel of a picture that is as coarse as the camera."""
    bins = [max(1, round((high - low) / _LIGHT_PIXEL_NM)) for low, high in limits]
    options: dict[str, Any] = {"bins": bins[::-1], "range": limits[::-1]}
    total, _, _ = np.histogram2d(down, across, weights=weight, **options)
    number, _, _ = np.histogram2d(down, across, **options)
    # The stage steps are larger than a camera pixel; blurring fills the gaps from neighbours.
    blurred = [gaussian_filter(image, 1.0) for image in (total, number)]
    return np.asarray(blurred[0] / np.maximum(blurred[1], 1e-6))


def grey(sum_YX: npt.NDArray[Any], limits: tuple[float, float] | None = None) -> Image:
    """Map values between two limits to grey; None: limits that exclude a few of the darkest and brightest pixels."""
    low, high = limits or np.percentile(sum_YX, [0.5, 99.8])
    shade = np.clip((sum_YX - low) / max(high - low, 1e-9), 0, 1) * 255
    return np.repeat(np.rint(shade).astype(np.uint8)[:, :, None], 3, axis=2)


def dark_figure(wide_inches: float, tall_inches: float) -> Any:
    """Create an empty dark figure."""
    return new_figure("Pictures with scale bars need", wide_inches, tall_inches, dpi=_DPI, facecolor="black")


def show_image(axes: Any, image: Image) -> None:
    """Fill axes with a picture, pixel for pixel."""
    axes.imshow(image, interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#303438")


def name_above(axes: Any, text: str) -> None:
    """Write what a panel shows above it."""
    axes.set_title(text, color="white", fontsize=12, loc="left", pad=5)


def corner_label(axes: Any, label: str, *, text: float = 1.0) -> None:
    """Write a label in the upper left corner."""
    axes.annotate(
        label, (0, 1), (8 * text, -8 * text), xycoords="axes fraction", textcoords="offset points", color=_DIM,
        fontsize=10 * text, va="top",
    )  # fmt: skip


def dim_label(figure: Any, at: tuple[float, float], label: str, *, text: float) -> None:
    """Write a label whose upper left corner is at a place given in fractions of the figure."""
    figure.text(*at, label, color=_DIM, fontsize=10 * text, ha="left", va="top")


def scale_bar(axes: Any, pixel_nm: float, *, text: float = 1.0) -> None:
    """Draw a bar of round length, about a fifth of the width, in the lower right corner."""
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
    from matplotlib.patches import Rectangle

    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    length_nm = round_length((right - left) * pixel_nm / 5)
    label = f"{length_nm / 1000:g} µm" if length_nm >= 1000 else f"{length_nm:g} nm"
    figure = axes.figure
    tall_px = axes.get_position().height * figure.get_figheight() * _DPI
    bar = AuxTransformBox(axes.transData)
    thickness = abs(bottom - top) * 4 * text / tall_px
    bar.add_artist(Rectangle((0, 0), length_nm / pixel_nm, thickness, facecolor="white", edgecolor="none"))
    words = TextArea(label, textprops={"color": "white", "fontsize": 10 * text})
    packed = VPacker(children=[words, bar], align="center", pad=0, sep=3 * text)
    axes.add_artist(AnchoredOffsetbox(loc="lower right", child=packed, frameon=False, pad=0.3, borderpad=0.6 * text))


def round_length(length_nm: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(length_nm))
    return max(step * power for step in (1, 2, 5) if step * power <= length_nm * (1 + 1e-9))


def colour_bar(
    figure: Any,
    box: tuple[float, float, float, float],
    z_range_nm: tuple[float, float],
    *,
    title: str = "z (nm)",
    text: float = 1.0,
) -> None:
    """Draw the colours of depths or other values; ``box`` is left, bottom, width, height in fractions of the figure."""
    axes = figure.add_axes(box)
    colours = to_srgb(depth_colours().astype(np.float32)).reshape(NUM_COLOURS, 1, 3)
    axes.imshow(colours, origin="lower", aspect="auto", extent=(0, 1, *z_range_nm))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.tick_params(colors="white", labelsize=9 * text, length=3 * text, width=0.8 * text)
    axes.locator_params(axis="y", nbins=5)
    axes.set_title(title, color="white", fontsize=10 * text, pad=7 * text)
    for spine in axes.spines.values():
        spine.set_visible(False)


def save_png(figure: Any, out: Path) -> None:
    """Write a figure, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with written_aside(out) as temporary:
        drawing.save_png(figure, temporary, facecolor=figure.get_facecolor())
