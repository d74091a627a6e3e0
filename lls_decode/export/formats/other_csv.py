"""Csv files of programs that are read but not written; one layout each.

SMAP's csv has the positions that SMAP shows, with the centre of the first pixel at 1 px. decode_fish puts the corner of
the first pixel at 0 (its source adds half a pixel along all three axes) and states brightness in its own units.
"""

from typing import Final

from lls_decode.table.csv_layouts import CHALLENGE, CsvLayout

_UNKNOWN_FRAMES: Final = ("the number of its first frame is not documented; frames are kept as in the file",)
_OF_SMAP: Final = (
    "LLrel", "logLikelihood", "iterations", "PSFxnm", "PSFynm", "PSFxpix", "PSFypix", "xpix", "ypix", "xpixerr",
    "ypixerr", "photerr", "zerr", "numberInGroup", "clusterindex", "clusterdensity", "dbclusterN", "layer", "class",
)  # fmt: skip
_SMAP_MORE: Final = {
    "numberInGroup": "num_frames", "groupindex": "group", "channel": "channel", "filenumber": "file",
    "photerr": "phot_sig", "phot_err": "phot_sig", "prob": "prob", "plane": "plane", "volume": "volume",
    "last_frame": "last_frame", "num_planes": "num_planes", "num_volumes": "num_volumes", "prob_any": "prob_any",
}  # fmt: skip
SMAP: Final = CsvLayout(
    "SMAP",
    required={"frame": "frame", "x": "x_nm", "y": "y_nm", "locprec": "xy_sig"},
    optional={"z": "z_nm", "phot": "photons", "bg": "bg", "locprecz": "z_sig", **_SMAP_MORE},
    first_frame=1,
    origin_px=1.0,
    other=_OF_SMAP,
    counts_from={"frame": 1},
    fills_channel=True,
)
SMAP_FIELDS: Final = CsvLayout(
    "SMAP",
    required={"frame": "frame", "xnm": "x_nm", "ynm": "y_nm"},
    optional={
        "znm": "z_nm", "phot": "photons", "bg": "bg", "xnmerr": "x_sig", "ynmerr": "y_sig", "locprecnm": "xy_sig",
        "locprecznm": "z_sig", "znmerr": "z_sig", **_SMAP_MORE,
    },
    first_frame=1,
    origin_px=1.0,
    other=_OF_SMAP,
    counts_from={"frame": 1},
    fills_channel=True,
)  # fmt: skip
DECODE_FISH: Final = CsvLayout(
    "decode_fish",
    required={"frame_idx": "frame", "x": "x_nm", "y": "y_nm", "int": "photons"},
    optional={"z": "z_nm", "prob": "prob", "int_sig": "phot_sig", "x_sig": "x_sig", "y_sig": "y_sig", "z_sig": "z_sig"},
    first_frame=0,
    origin_px=0.5,
    other=("loc_idx", "comb_sig"),
    notes=(
        "photons are decode_fish's int, in the unit of its training",
        "z is relative to its volume, as in the file",
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
    other=("x fid-corrected (nm)", "y fid-corrected (nm)", "z fid-corrected (nm)"),
)
NANOIMAGER: Final = CsvLayout(
    "Nanoimager",
    required={"Channel": "channel", "Frame": "frame", "X (nm)": "x_nm", "Y (nm)": "y_nm"},
    optional={
        "Z (nm)": "z_nm",
        "X precision (nm)": "x_sig",
        "Y precision (nm)": "y_sig",
        "Z precision (nm)": "z_sig",
        "Photons": "photons",
        "Background": "bg",
    },
    first_frame=0,
    origin_px=None,
    other=(
        "X (pix)", "Y (pix)", "Z (pix)", "X precision (pix)", "Y precision (pix)", "X raw (pix)", "Y raw (pix)",
        "Z raw (pix)", "PSF Sigma X (pix)", "PSF Sigma Y (pix)", "Sigma X var", "Sigma Y var", "p-value",
    ),
    notes=_UNKNOWN_FRAMES,
)  # fmt: skip
VLUME: Final = CsvLayout(
    "vLUME",
    required={"frame": "frame", "x": "x_nm", "y": "y_nm", "int": "photons"},
    optional={"z": "z_nm"},
    first_frame=0,
    origin_px=None,
    comment="#LUME",
    notes=_UNKNOWN_FRAMES,
)
ELYRA: Final = CsvLayout(
    "Elyra",
    required={"First Frame": "frame", "Position X [nm]": "x_nm", "Position Y [nm]": "y_nm"},
    optional={
        "Position Z [nm]": "z_nm", "Precision [nm]": "xy_sig", "Precision Z [nm]": "z_sig", "Number Photons": "photons",
        "Number Frames": "num_frames", "Channel": "channel",
    },
    first_frame=1,
    origin_px=None,
    other=("Index", "Frames Missing", "Background variance", "Chi square", "PSF half width [nm]", "Z Slice"),
    footer=r"[\s\0]*$|[^\t]*:",
    first_channel=1,
)  # fmt: skip
NSTORM: Final = CsvLayout(
    "N-STORM",
    required={"Channel Name": "channel", "Frame": "frame", "X": "x_nm", "Y": "y_nm", "Xc": "", "Yc": ""},
    optional={"Z": "z_nm", "Photons": "photons", "Lateral Localization Accuracy": "xy_sig", "Length": "num_frames"},
    first_frame=0,
    origin_px=None,
    other=(
        "Height", "Area", "Width", "Phi", "Ax", "BG", "I", "Link", "Valid", "Zc", "Xw", "Yw", "Xwc", "Ywc", "Zw",
        "Zwc",
    ),
    notes=(
        *_UNKNOWN_FRAMES,
        "x, y and z are the values without N-STORM's corrections for drift and colour (Xc, Xwc, ...)",
    ),
)  # fmt: skip
PICASSO_COLUMNS: Final = CsvLayout(
    "Picasso",
    required={"frame": "frame", "x": "x_nm", "y": "y_nm", "lpx": "x_sig", "lpy": "y_sig"},
    optional={
        "z": "z_nm", "photons": "photons", "bg": "bg", "lpz": "z_sig", "photons_unc": "phot_sig", "group": "group",
        "n": "num_frames", "len": "span_frames", "channel": "channel", "prob": "prob", "plane": "plane",
        "volume": "volume", "num_planes": "num_planes", "num_volumes": "num_volumes", "prob_any": "prob_any",
    },
    first_frame=0,
    origin_px=0.0,
    other=(
        "sx", "sy", "net_gradient", "likelihood", "log_likelihood", "iterations", "ellipticity", "d_zcalib",
        "photon_rate", "group_input", "n_id", "identifications",
    ),
    units=dict.fromkeys(("x", "y", "lpx", "lpy"), "px"),
)  # fmt: skip
LOCAN: Final = CsvLayout(
    "locan",
    required={"position_x": "x_nm", "position_y": "y_nm", "frame": "frame"},
    optional={
        "position_z": "z_nm", "uncertainty_x": "x_sig", "uncertainty_y": "y_sig", "uncertainty_z": "z_sig",
        "intensity": "photons", "local_background": "bg", "channel": "channel", "cluster_label": "group",
    },
    first_frame=0,
    origin_px=None,
    is_open=True,
    asks="its frames and its origin depend on the file that locan had read",
)  # fmt: skip
SPLINE_FIT: Final = CsvLayout(
    "fit3Dcspline",
    required={"frame": "frame", "x_nm": "x_nm", "y_nm": "y_nm", "x_pix": "", "y_pix": ""},
    optional={
        "z_nm": "z_nm", "photons": "photons", "background": "bg", "crlb_xnm": "x_sig", "crlb_ynm": "y_sig",
        "crlb_znm": "z_sig",
    },
    first_frame=1,
    origin_px=1.0,
    is_open=True,
    asks="its column names are also ours, but its frames and origin are not",
)  # fmt: skip

LAYOUTS: Final = {
    "smap-csv": SMAP,
    "smap-fields": SMAP_FIELDS,
    "decode-fish": DECODE_FISH,
    "challenge": CHALLENGE,
    "easy-dhpsf": EASY_DHPSF,
    "nanoimager": NANOIMAGER,
    "vlume": VLUME,
    "elyra": ELYRA,
    "nstorm": NSTORM,
    "picasso-csv": PICASSO_COLUMNS,
    "locan": LOCAN,
    "fit3dcspline": SPLINE_FIT,
}
"""Layouts by their names on the command line."""
