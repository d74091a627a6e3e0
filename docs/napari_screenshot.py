"""Take the picture of `docs/howto/napari.md`: a table and its rendered picture in napari, opened by our plugin.

    lls-decode render localizations.parquet picture.zarr --pixel-nm 40 --mode histogram
    xvfb-run python docs/napari_screenshot.py localizations.parquet picture.zarr docs/napari.png

Runs where napari and lls_decode are installed. Without a screen it needs a virtual one (``xvfb-run``), since napari
draws by OpenGL. The picture has 128 colours, so that the file stays small.
"""

import io
import sys

import napari
from PIL import Image

SIZE = (1200, 760)
NUM_COLOURS = 128
ANGLES = (-4, 34, 118)
"""Of the view, degrees."""
ZOOM = 1.25
"""Beyond what shows everything."""


def main(table: str, picture: str, out: str) -> None:
    """Open both, turn the points in three dimensions, and save what the window shows."""
    viewer = napari.Viewer(show=False)
    viewer.window.resize(*SIZE)
    viewer.open(picture, plugin="lls-decode")
    viewer.open(table, plugin="lls-decode")
    viewer.dims.ndisplay = 3
    viewer.scale_bar.visible = True
    viewer.window.show()
    viewer.reset_view()
    camera = getattr(viewer, "scene", viewer).camera  # since napari 0.9 in the scene
    camera.angles = ANGLES
    camera.zoom *= ZOOM
    window = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
    buffer = io.BytesIO()
    window.quantize(NUM_COLOURS, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    with open(out, "wb") as file:
        file.write(buffer.getvalue())
    viewer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
