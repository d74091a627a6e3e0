"""Pixel size, z step and axes are read from the metadata of every program; missing ones stay unknown."""

import json
from fractions import Fraction

import numpy as np
import pytest
import zarr

from lls_decode.axes import Layout
from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import InputError
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.lls_settings import read_settings
from lls_decode.movies.lengths import length_nm, length_problem, unit_nm
from tests.movies.any_movie import H, W
from tests.movies.test_lls_folder import janelia, settings_text
from tests.movies.test_lls_folder import write as write_lls

tifffile = pytest.importorskip("tifffile")

MOVIE = np.random.default_rng(0).integers(90, 400, (12, H, W)).astype("uint16")
UM = 0.108


def rational(value):
    """Return the two integers of a resolution tag, because old versions of tifffile approximate less well."""
    return Fraction(value).limit_denominator(10_000).as_integer_ratio()


def imagej(unit, per_unit, spacing=None, encoding="utf-8"):
    def make(path):
        more = "" if spacing is None else f"spacing={spacing}\n"
        text = f"ImageJ=1.53\nimages=12\nslices=12\nunit={unit}\n{more}".encode(encoding)
        tifffile.imwrite(
            path,
            MOVIE,
            photometric="minisblack",
            metadata=None,
            description=text,
            resolution=(rational(1 / per_unit),) * 2,
        )

    return make


def ome(unit, size, step=None):
    def make(path):
        names = {"X": size, "Y": size} | ({"Z": step} if step else {})
        told = {f"PhysicalSize{axis}": value for axis, value in names.items()}
        told |= {f"PhysicalSize{axis}Unit": unit for axis in names if unit}
        axes = "ZYX" if step else "TYX"
        tifffile.imwrite(path, MOVIE, ome=True, metadata={"axes": axes, **told})

    return make


def tags(unit, per_unit):
    def make(path):
        options = {"resolution": (rational(per_unit),) * 2, "resolutionunit": unit}
        tifffile.imwrite(path, MOVIE, photometric="minisblack", metadata=None, **options)

    return make


SIZES = {
    "imagej um": (imagej("um", UM), UM, None),
    "imagej micron": (imagej("micron", UM), UM, None),
    "imagej escaped": (imagej("\\u00B5m", UM), UM, None),
    "imagej micro sign": (imagej("\u00b5m", UM), UM, None),
    "imagej micro sign of old programs": (imagej("\u00b5m", UM, encoding="latin-1"), UM, None),
    "imagej mu": (imagej("\u03bcm", UM), UM, None),
    "imagej nm": (imagej("nm", UM * 1e3), UM, None),
    "imagej mm": (imagej("mm", UM / 1e3), UM, None),
    "imagej cm": (imagej("cm", UM / 1e4), UM, None),
    "imagej inch": (imagej("inch", UM / 25400), UM, None),
    "imagej spacing": (imagej("um", UM, spacing=0.4), UM, 400),
    "imagej pixel": (imagej("pixel", 1), None, None),
    "imagej unknown": (imagej("furlong", UM), None, None),
    "ome": (ome(None, UM), UM, None),
    "ome micro sign": (ome("\u00b5m", UM, step=0.4), UM, 400),
    "ome mu": (ome("\u03bcm", UM), UM, None),
    "ome nm": (ome("nm", UM * 1e3, step=400), UM, 400),
    "ome mm": (ome("mm", UM / 1e3), UM, None),
    "ome m": (ome("m", UM / 1e6), UM, None),
    "ome angstrom": (ome("Å", UM * 1e4), UM, None),
    "ome inch": (ome("in", UM / 25400), UM, None),
    "ome decimal comma": (ome(None, "0,108", step="0,4"), UM, 400),
    "imagej decimal comma": (imagej("um", UM, spacing="0,4"), UM, 400),
    "ome pixel": (ome("pixel", 3), None, None),
    "ome reference frame": (ome("reference frame", 3), None, None),
    "tags cm": (tags("CENTIMETER", 1e4 / UM), UM, None),
    "tags inch": (tags("INCH", 25400 / UM), UM, None),
    "72 dpi": (tags("INCH", 72), None, None),
    "1200 dpi": (tags("INCH", 1200), None, None),
    "no unit": (tags("NONE", 1 / UM), None, None),
}


@pytest.mark.parametrize("in_folder", [False, True])
@pytest.mark.parametrize(("make", "pixel_um", "step_nm"), SIZES.values(), ids=SIZES)
def test_pixel_size_and_z_step_are_read_in_every_unit(make, pixel_um, step_nm, in_folder, tmp_path):
    path = tmp_path / "in" / ("a.ome.tif" if make.__qualname__.startswith("ome") else "a.tif")
    path.parent.mkdir()
    make(path)
    movie = open_movie(path.parent if in_folder else path)
    expected = None if pixel_um is None else PixelSize(x_nm=round(pixel_um * 1e3, 6), y_nm=round(pixel_um * 1e3, 6))
    assert movie.pixel_size == expected
    assert movie.z_step_nm == step_nm


def test_an_unknown_unit_gives_a_note(tmp_path):
    imagej("furlong", UM)(tmp_path / "a.tif")
    assert any("'furlong' of its sizes is unknown; give --pixel-nm" in n for n in open_movie(tmp_path / "a.tif").notes)


def ome_told(**told):
    def make(path):
        tifffile.imwrite(path, MOVIE, ome=True, metadata={"axes": "ZYX", **told})

    return make


def imagej_told(*lines, is_calibrated=True):
    def make(path):
        text = "\n".join(("ImageJ=1.53", "images=12", "slices=12", *lines, ""))
        resolution = (rational(1 / UM) if is_calibrated else (1, 3),) * 2
        options = {"photometric": "minisblack", "metadata": None, "description": text, "resolution": resolution}
        tifffile.imwrite(path, MOVIE, resolutionunit="NONE", **options)

    return make


@pytest.mark.parametrize(
    ("make", "size", "step_nm", "notes"),
    [
        (ome_told(PhysicalSizeX="0.1O8", PhysicalSizeY="0.108"), None, None, ["'0.1O8' (µm) is no usable number"]),
        (ome_told(PhysicalSizeX="1,000.5", PhysicalSizeY="0.108"), None, None, ["'1,000.5' (µm) is no usable number"]),
        (ome_told(PhysicalSizeX=UM), None, None, ["states a pixel size along x only"]),
        (ome_told(PhysicalSizeX=UM, PhysicalSizeY=1.0), None, None, ["states a pixel size along x only"]),
        (ome_told(PhysicalSizeX=-UM, PhysicalSizeY=UM), None, None, ["along x is negative"]),
        (ome_told(PhysicalSizeX=UM, PhysicalSizeY=108, PhysicalSizeYUnit="nm"), (108, 108), None, []),
        (ome_told(PhysicalSizeZ="about 400"), None, None, ["'about 400' (µm) is no usable number; give --z-step-nm"]),
        (imagej_told("unit=um", "yunit=nm"), (108, 0.108), None, []),
        (imagej_told("unit=um", "zunit=nm", "spacing=400"), (108, 108), 400, []),
        (imagej_told("unit=um", "yunit=smoot"), None, None, ["'smoot' of its sizes is unknown; give --pixel-nm"]),
        (imagej_told("unit=um", "spacing=0.4.1"), (108, 108), None, ["'0.4.1' (um) is no usable number"]),
        (imagej_told("unit=pixel", is_calibrated=False), None, None, []),
    ],
)
def test_a_size_that_cannot_be_used_is_named(make, size, step_nm, notes, tmp_path):
    make(tmp_path / "a.ome.tif")
    movie = open_movie(tmp_path / "a.ome.tif")
    assert movie.pixel_size == (size and PixelSize(x_nm=size[0], y_nm=size[1]))
    assert movie.z_step_nm == step_nm
    assert len(movie.notes) == len(notes)
    for note, expected in zip(movie.notes, notes, strict=True):
        assert expected in note


def test_conversion_prints_sizes_that_cannot_be_used_and_takes_the_given_ones(tmp_path, caplog):
    ome_told(PhysicalSizeX="0.1O8", PhysicalSizeY="0.108")(tmp_path / "a.ome.tif")
    source = convert(tmp_path / "a.ome.tif", tmp_path / "a.zarr", pixel_size=PixelSize(x_nm=108, y_nm=108))
    assert "'0.1O8'" in caplog.text
    assert source.pixel_size == PixelSize(x_nm=108, y_nm=108)


def test_a_given_size_that_contradicts_the_file_is_stored_with_a_warning(tmp_path, caplog):
    ome_told(PhysicalSizeX=UM, PhysicalSizeY=UM, PhysicalSizeZ=0.4)(tmp_path / "a.ome.tif")
    same, other = PixelSize(x_nm=108, y_nm=108), PixelSize(x_nm=160, y_nm=160)
    convert(tmp_path / "a.ome.tif", tmp_path / "a.zarr", pixel_size=same, z_step_nm=400)
    assert "stored instead" not in caplog.text
    source = convert(tmp_path / "a.ome.tif", tmp_path / "b.zarr", pixel_size=other, z_step_nm=500)
    assert "states pixels of 108 x 108 nm (x, y); the given 160 x 160 nm are stored instead" in caplog.text
    assert "states a z step of 400 nm; the given 500 nm are stored instead" in caplog.text
    assert (source.pixel_size, source.z_step_nm) == (other, 500)


def test_sizes_in_micro_manager_metadata_that_cannot_be_used_are_named(tmp_path):
    about = json.dumps({"PixelSizeUm": "0,108", "z-step_um": "?"}).encode() + b"\0"
    extra = [(51123, 2, len(about), about, True)]
    tifffile.imwrite(tmp_path / "a.tif", MOVIE, photometric="minisblack", metadata={"axes": "ZYX"}, extratags=extra)
    movie = open_movie(tmp_path / "a.tif")
    assert (movie.pixel_size, movie.z_step_nm) == (PixelSize(x_nm=108, y_nm=108), None)
    assert any("'?' (um) is no usable number; give --z-step-nm" in note for note in movie.notes)


def test_a_converted_store_keeps_sizes_and_geometry(tmp_path):
    stacks = {janelia(0, i): MOVIE[4 * i : 4 * i + 4] for i in range(3)}
    source = convert(write_lls(tmp_path / "in", stacks), tmp_path / "a.zarr")
    assert (source.pixel_size, source.z_step_nm) == (PixelSize(x_nm=104, y_nm=104), 400)
    kept = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["lls_decode"]["geometry"]
    assert Geometry(**kept) == Geometry(motion="stage", stage_step_nm=400, angle_deg=31.8)


def test_sizes_are_read_from_micro_manager_metadata(tmp_path):
    about = json.dumps({"PixelSizeUm": UM, "z-step_um": -0.4}).encode() + b"\0"
    extra = [(51123, 2, len(about), about, True)]
    tifffile.imwrite(tmp_path / "a.tif", MOVIE, photometric="minisblack", metadata={"axes": "ZYX"}, extratags=extra)
    movie = open_movie(tmp_path / "a.tif")
    assert (movie.pixel_size, movie.z_step_nm) == (PixelSize(x_nm=108, y_nm=108), 400)


def test_units_are_converted_to_nm():
    assert unit_nm("\u03bcm") == unit_nm("\u00b5m") == unit_nm("um") == 1e3
    assert (unit_nm("Mm"), unit_nm("mm"), unit_nm("Pm"), unit_nm("pm")) == (1e15, 1e6, 1e24, 1e-3)
    assert (length_nm("0.108", "um"), length_nm(1, "um"), length_nm(0, "um"), length_nm("x", "um")) == (
        108,
        None,
        None,
        None,
    )
    assert [bool(length_problem(3, unit)) for unit in ("pixel", "um", "smoot")] == [False, False, True]


@pytest.mark.parametrize(
    ("changes", "geometry"),
    [
        ({"s": "0,4"}, (400, 31.8)),
        ({"angle": "31,0"}, (400, 31.0)),
        ({"s": "4e-1"}, (400, 31.8)),
        ({"s": ",4"}, (400, 31.8)),
    ],
)
def test_settings_may_have_decimal_commas(changes, geometry, tmp_path):
    (tmp_path / "Settings.txt").write_text(settings_text(**changes))
    found = read_settings(tmp_path / "Settings.txt").geometry
    assert (found.stage_step_nm, found.angle_deg) == geometry


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"s": "0.4um"}, "'0.4um' for S PZT, expected a number"),
        ({"s": "0.4\t1"}, "expected three values"),
        ({"planes": "4.5"}, "whole number of planes"),
        ({"angle": "31.8 deg"}, "'31.8 deg' for the angle"),
        ({"angle": "0"}, "an angle of 0 deg"),
        ({"magnification": "62,5x"}, "'62,5x' for the magnification"),
        ({"binning": "two"}, "for the binning"),
    ],
)
def test_invalid_settings_are_refused(changes, message, tmp_path):
    (tmp_path / "Settings.txt").write_text(settings_text(**changes))
    with pytest.raises(InputError, match=message):
        read_settings(tmp_path / "Settings.txt")


def test_the_settings_file_is_chosen_by_name_ignoring_case(tmp_path):
    folder = write_lls(tmp_path / "in", {janelia(0, 0): MOVIE[:4]})
    (folder / "cell5_Settings.txt").unlink()
    (folder / "cell5_settings.txt").write_text(settings_text(angle=32.0))
    assert open_movie(folder).geometry.angle_deg == 32
    (folder / "cell_Settings.txt").write_text(settings_text(angle=33.0))
    (folder / "a_SETTINGS.TXT").write_text(settings_text(angle=34.0))
    assert open_movie(folder).geometry.angle_deg == 32
    (folder / "cell5_settings.txt").unlink()
    with pytest.raises(
        InputError, match=r"2 settings files \(a_SETTINGS\.TXT, cell_Settings\.txt\), none of which clearly matches"
    ):
        open_movie(folder)


def shaped(axes, shape):
    return lambda path: tifffile.imwrite(
        path, MOVIE.reshape(*shape, H, W), photometric="minisblack", metadata={"axes": axes}
    )


ALL = np.arange(12)
AXES = {
    "zyx": (shaped("ZYX", (12,)), {}, ALL, 12),
    "axes of length one": (shaped("ARZYX", (1, 1, 12)), {}, ALL, 12),
    "positions": (shaped("PTYX", (2, 6)), {"position": "1"}, ALL[6:], 1),
    "positions after times": (shaped("TPYX", (6, 2)), {"position": "1"}, ALL[1::2], 1),
    "channels": (shaped("CTYX", (2, 6)), {"channel": "0"}, ALL[:6], 1),
    "channels and planes": (shaped("TCZYX", (2, 2, 3)), {"channel": "1"}, ALL.reshape(2, 2, 3)[:, 1].ravel(), 3),
    "planes before times": (shaped("ZTYX", (4, 3)), {}, ALL.reshape(4, 3).T.ravel(), 4),
    "axes given by the user": (shaped("AQYX", (3, 4)), {"axes": "tzyx"}, ALL, 4),
}  # fmt: skip


@pytest.mark.parametrize(("make", "options", "order", "planes"), AXES.values(), ids=AXES)
def test_axes_are_read_from_their_names(make, options, order, planes, tmp_path):
    make(tmp_path / "a.tif")
    movie = open_movie(tmp_path / "a.tif", Choices(**options))
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), MOVIE[order])
    assert movie.planes == planes


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        ("CTYX", (2, 6), "2 channels: 0, 1; choose one with --channel"),
        ("CYX", (12,), "12 channels: .*--channel, or give --axes tyx if these are frames in time"),
        ("PTYX", (2, 6), "2 positions: 0, 1; choose one with --position"),
        ("AZYX", (2, 6), "axes 'az', expected .*--axes tzyx"),
    ],
)
def test_axes_without_a_selection_are_refused(axes, shape, message, tmp_path):
    shaped(axes, shape)(tmp_path / "a.tif")
    with pytest.raises(InputError, match=message):
        open_movie(tmp_path / "a.tif")


@pytest.mark.parametrize(("told", "number"), [("0", 0), ("640", 0), ("561", 1), ("1", 1)])
def test_a_channel_of_an_ome_tiff_is_selected_by_number_or_name(told, number, tmp_path):
    text = {"axes": "TCYX", "Channel": {"Name": ["640", "561"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", MOVIE.reshape(6, 2, H, W), metadata=text)
    source = convert(tmp_path / "a.ome.tif", tmp_path / "a.zarr", channel=told)
    assert source.layout == Layout(6, 1, H, W)
    frames = source.read_frames(np.stack([np.arange(6), np.zeros(6, int)], axis=1))
    np.testing.assert_array_equal(frames, MOVIE[number::2])


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_one_of_several_images_in_a_file_is_selected(name, tmp_path):
    with tifffile.TiffWriter(tmp_path / name) as writer:
        for k, data in enumerate((MOVIE[:5], MOVIE[5:, :6])):
            text = {"axes": "TYX", "Name": f"cell_Pos{k}"}
            writer.write(data, photometric="minisblack", metadata=text)
    with pytest.raises(InputError, match=r"2 positions: .*; choose one with --position"):
        open_movie(tmp_path / name)
    for wanted, data in (("0", MOVIE[:5]), ("1", MOVIE[5:, :6])):
        movie = open_movie(tmp_path / name, Choices(position=wanted))
        np.testing.assert_array_equal(movie.read(0, movie.num_frames), data)


@pytest.mark.parametrize("text", ['{{"axes": "CTYX", "shape": {0}}}', '{{"shape": {0}, "axes": "CTYX"}}'])
def test_the_shape_may_stand_anywhere_in_the_description(text, tmp_path):
    """Versions of tifffile before 2026 write it last."""
    description = text.format(f"[2, 6, {H}, {W}]")
    tifffile.imwrite(tmp_path / "a.tif", MOVIE, photometric="minisblack", metadata=None, description=description)
    with pytest.raises(InputError, match="2 channels: 0, 1"):
        open_movie(tmp_path / "a.tif")
