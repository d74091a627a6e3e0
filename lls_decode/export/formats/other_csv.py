"""csv of programs that we read and do not write; one entry each.

SMAP's csv has its positions as SMAP shows them, with the centre of the first pixel at 1 px. decode_fish puts the corner
of the first pixel at 0 (its source adds half a pixel in all three axes) and gives the brightness in units of its own.
"""

from typing import Final

from lls_decode.table.csv_layouts import CHALLENGE, CsvLayout

SMAP: Final = CsvLayout(
    "SMAP",
    required={"frame": "frame", "x": "x_nm", "y": "y_nm", "locprec": "xy_sig"},
    optional={"z": "z_nm", "phot": "photons", "bg": "bg", "locprecz": "z_sig"},
    first_frame=1,
    origin_px=1.0,
)
SMAP_FIELDS: Final = CsvLayout(
    "SMAP",
    required={"frame": "frame", "xnm": "x_nm", "ynm": "y_nm"},
    optional={"znm": "z_nm", "phot": "photons", "bg": "bg", "locprecnm": "xy_sig", "locprecznm": "z_sig"},
    first_frame=1,
    origin_px=1.0,
)
DECODE_FISH: Final = CsvLayout(
    "decode_fish",
    required={"frame_idx": "frame", "x": "x_nm", "y": "y_nm", "int": "photons"},
    optional={"z": "z_nm", "prob": "prob", "int_sig": "phot_sig", "x_sig": "x_sig", "y_sig": "y_sig", "z_sig": "z_sig"},
    first_frame=0,
    origin_px=0.5,
    notes=(
        "photons are decode_fish's int, whose unit is that of its training",
        "z is that of its volume, as in the file",
    ),
)
EASY_DHPSF: Final = CsvLayout(
    "EasyDHPSF",
    required={"frame num": "frame", "x (nm)": "x_nm", "y (nm)": "y_nm"},
    optional={
        "z (nm)": "z_nm",
        "photons detected": "photons",
        "mean background photons": "bg",
        "molecule num": "group",
    },
    first_frame=1,
    origin_px=None,
)
NANOIMAGER: Final = CsvLayout(
    "Nanoimager",
    required={"Frame": "frame", "X (nm)": "x_nm", "Y (nm)": "y_nm"},
    optional={"Z (nm)": "z_nm", "Photons": "photons", "Background": "bg"},
    first_frame=0,
    origin_px=None,
    notes=("from which number its frames count is not documented; as in the file",),
)
VLUME: Final = CsvLayout(
    "vLUME",
    required={"frame": "frame", "x": "x_nm", "y": "y_nm", "int": "photons"},
    optional={"z": "z_nm"},
    first_frame=0,
    origin_px=None,
    notes=("from which number its frames count is not documented; as in the file",),
)

LAYOUTS: Final = (SMAP, SMAP_FIELDS, DECODE_FISH, CHALLENGE, EASY_DHPSF, NANOIMAGER, VLUME)
"""In the order in which they are tried."""
