"""Names of axes are used whoever wrote them; ambiguous names give an error whose advice works."""

import json
import re
import shutil

import numpy as np
import pytest
import zarr

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import InputConfig, PixelSize
from lls_decode.errors import InputError
from lls_decode.frames import open_source
from lls_decode.frames.growing import Growth

T, C, Z, Y, X = 4, 2, 3, 10, 12


def counts(shape):
    return np.random.default_rng(0).integers(90, 140, shape).astype("uint16")


def write(path, data, **options):
    options.setdefault("chunks", (*(1,) * (data.ndim - 2), *data.shape[-2:]))
    array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, **options)
    array[...] = data
    return path


def by_dimension_names(path, data, names):
    return write(path, data, dimension_names=names)


def by_xarray(path, data, names):
    write(path, data, zarr_format=2)
    (path / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": list(names)}))
    return path


def ome_axes(names):
    types = {"t": "time", "time": "time", "c": "channel"}
    return [{"name": name, "type": types.get(name, "space")} for name in names]


def by_ome_0_4(path, data, names):
    write(path / "0", data, zarr_format=2)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    multiscale = {"version": "0.4", "axes": ome_axes(names), "datasets": [{"path": "0"}]}
    (path / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))
    return path


def by_ome_0_5(path, data, names):
    multiscale = {"axes": ome_axes(names), "datasets": [{"path": "0"}]}
    zarr.create_group(path, attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    write(path / "0", data, dimension_names=list(names))
    return path


def by_ome_0_6(path, data, names, transforms=None, **more):
    system = {"name": "physical", "axes": ome_axes(names)}
    own = [{"type": "identity", "input": "0", "output": "physical"}] if transforms is None else transforms
    multiscale = {"coordinateSystems": [system], "datasets": [{"path": "0", "coordinateTransformations": own}], **more}
    zarr.create_group(path, attributes={"ome": {"version": "0.6rc0", "multiscales": [multiscale]}})
    write(path / "0", data, dimension_names=list(names))
    return path


WRITERS = [by_dimension_names, by_xarray, by_ome_0_4, by_ome_0_5, by_ome_0_6]

NAMED = {
    "p with one entry": ("ptyx", (1, T, Y, X), {}, Layout(T, 1, Y, X)),
    "p and c with one entry": ("ptcyx", (1, T, 1, Y, X), {}, Layout(T, 1, Y, X)),
    "m with one entry, volumes": ("tmzyx", (T, 1, Z, Y, X), {}, Layout(T, Z, Y, X)),
    "p with two entries": ("ptyx", (2, T, Y, X), {"select": {"p": 1}}, Layout(T, 1, Y, X)),
    "p and s with two entries": ("psyx", (2, 2, Y, X), {"select": {"p": 1, "s": 0}}, Layout(1, 1, Y, X)),
    "six axes": ("ptczyx", (2, T, C, Z, Y, X), {"select": {"p": 0}, "channel": 1}, Layout(T, Z, Y, X)),
    "p between z and y": ("zpyx", (Z, 2, Y, X), {"select": {"p": 1}}, Layout(1, Z, Y, X)),
    "a volume": ("zyx", (Z, Y, X), {}, Layout(1, Z, Y, X)),
    "volumes, z first": ("ztyx", (Z, T, Y, X), {}, Layout(T, Z, Y, X)),
    "full words": (
        ("position", "time", "row", "column"),
        (2, T, Y, X),
        {"select": {"position": 1}},
        Layout(T, 1, Y, X),
    ),
    "full words selected by letter": (
        ("position", "plane", "y", "x"),
        (2, Z, Y, X),
        {"select": {"p": 1}},
        Layout(1, Z, Y, X),
    ),
    "capitals": ("PTYX", (2, T, Y, X), {"select": {"P": 1}}, Layout(T, 1, Y, X)),
    "tile beside t": (("tile", "t", "y", "x"), (2, T, Y, X), {"select": {"tile": 0}}, Layout(T, 1, Y, X)),
    "flat stream with five axes": ("tczyx", (6, 1, 1, Y, X), {"planes_per_volume": 3}, Layout(2, 3, Y, X)),
}


def truth(data, names, select, channel):
    """Return the expected frames in order of time, then planes."""
    letters = [{"position": "p", "time": "t", "plane": "z", "row": "y", "column": "x"}.get(n, n).lower() for n in names]
    index = {letter: {**{k[0].lower(): v for k, v in select.items()}, "tile": select.get("tile", 0)}.get(letter, 0)
             for letter in letters}  # fmt: skip
    index["c"] = channel
    picked = data[tuple(slice(None) if letter in "tzyx" else index[letter] for letter in letters)]
    left = [letter for letter in letters if letter in "tzyx"]
    return picked.transpose([left.index(axis) for axis in "tzyx" if axis in left]).reshape(-1, Y, X)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("names", "shape", "config", "layout"), NAMED.values(), ids=NAMED)
def test_names_of_axes_determine_layout_and_frames(writer, names, shape, config, layout, tmp_path):
    data = counts(shape)
    source = open_source(writer(tmp_path / "a.zarr", data, names), InputConfig(**config))
    assert source.layout == layout
    expected = truth(data, names, config.get("select", {}), config.get("channel", 0))
    for block in plan_blocks(layout, "none", 5):
        np.testing.assert_array_equal(source.read(block).adu_TYX, expected[block.owned_frames])
    assert not any("axes assumed to be" in note for note in source.notes)
    assert sum("is read" in note for note in source.notes) == len(config.get("select", {}))


@pytest.mark.parametrize("writer", WRITERS)
def test_an_axis_with_several_entries_asks_for_one_and_the_advice_works(writer, tmp_path):
    data = counts((3, T, Y, X))
    path = writer(tmp_path / "a.zarr", data, "ptyx")
    with pytest.raises(InputError, match=r"3 entries along axis 'p'.* --select p=0 to --select p=2") as caught:
        open_source(path)
    name, index = re.findall(r"--select (\w+)=(\d)", str(caught.value))[1]
    source = open_source(path, InputConfig(select={name: int(index)}))
    np.testing.assert_array_equal(source.read(plan_blocks(source.layout, "none", 9)[0]).adu_TYX, data[2])
    assert source.identity != open_source(path, InputConfig(select={"p": 0})).identity
    said = open_source(path, InputConfig(axes="ztyx"))  # the alternative advice
    assert said.layout == Layout(T, 3, Y, X)


def test_axes_given_by_the_user_may_include_other_axes(tmp_path):
    data = counts((2, T, Y, X))
    source = open_source(write(tmp_path / "a.zarr", data), InputConfig(axes="ptyx", select={"p": 1}))
    np.testing.assert_array_equal(source.read(plan_blocks(source.layout, "none", 9)[0]).adu_TYX, data[1])


NOT_SELECTED = {
    "unknown axis": ("ptyx", {"q": 0}, r"has no axis 'q' to select from \(its other axes: 'p'\)"),
    "no other axis": ("tzyx", {"p": 0}, "its other axes: none"),
    "entry out of range": ("ptyx", {"p": 2}, "has 2 entries along axis 'p', there is no entry 2; choose one of 0 to 1"),
    "channel": ("ctyx", {"c": 0}, "choose a channel with --channel"),
    "time": ("ptyx", {"p": 0, "t": 1}, "choose a part with --volumes"),
    "plane": ("tzyx", {"z": 1}, "omit --select"),
}


@pytest.mark.parametrize(("names", "select", "words"), NOT_SELECTED.values(), ids=NOT_SELECTED)
def test_a_selection_that_does_not_fit_is_refused(names, select, words, tmp_path):
    path = by_dimension_names(tmp_path / "a.zarr", counts((2, 2, Y, X)), names)
    with pytest.raises(InputError, match=words):
        open_source(path, InputConfig(select=select))


HALF_NAMED = {
    "z without y and x": (["z", "dim_1", "dim_2"], (Z, Y, X), "zyx", Layout(1, Z, Y, X)),
    "p without y and x": (["p", "t", "dim_2", "dim_3"], (1, T, Y, X), "ptyx", Layout(T, 1, Y, X)),
    "one axis unnamed": (["z", None, "y", "x"], (Z, T, Y, X), "ztyx", Layout(T, Z, Y, X)),
    "frames last": (["x", "y", None], (X, Y, T), "xyt", Layout(T, 1, Y, X)),
}


@pytest.mark.parametrize(("names", "shape", "axes", "layout"), HALF_NAMED.values(), ids=HALF_NAMED)
def test_names_that_contradict_the_guessed_axes_are_an_error(names, shape, axes, layout, tmp_path):
    path = by_dimension_names(tmp_path / "a.zarr", counts(shape), names)
    with pytest.raises(InputError, match=r"name only some of its axes.*; name the axes with --axes"):
        open_source(path)
    assert open_source(path, InputConfig(axes=axes)).layout == layout


@pytest.mark.parametrize(
    ("names", "said"), [("t time y x", "'t' more than once"), ("z z y x", "'z' more"), ("t z x x", "'x' more")]
)
def test_an_axis_that_is_named_twice_is_an_error(names, said, tmp_path):
    path = by_dimension_names(tmp_path / "a.zarr", counts((T, Z, Y, X)), names.split())
    with pytest.raises(InputError, match=rf"names axis {said}.*; name the axes with --axes"):
        open_source(path)
    assert open_source(path, InputConfig(axes="tzyx")).layout == Layout(T, Z, Y, X)


@pytest.mark.parametrize("names", [[None, "z", "y", "x"], ["t", None, None, None], ["4", "3", "10", "12"]])
def test_names_that_agree_with_the_guessed_axes_are_accepted(names, tmp_path):
    source = open_source(by_dimension_names(tmp_path / "a.zarr", counts((T, Z, Y, X)), names))
    assert source.layout == Layout(T, Z, Y, X)
    assert any("axes assumed to be tzyx" in note for note in source.notes)


SPELLED = {
    "size of each axis": (["depth", "time", "height", "width"], (Z, T, Y, X)),
    "units": (["z_um", "t_ms", "y_um", "x_um"], (Z, T, Y, X)),
    "units in brackets": (["z (µm)", "t [s]", "y (px)", "x (px)"], (Z, T, Y, X)),
    "words for axis": (["axis_z", "axis_t", "y axis", "x axis"], (Z, T, Y, X)),
}


@pytest.mark.parametrize(("names", "shape"), SPELLED.values(), ids=SPELLED)
@pytest.mark.parametrize("writer", [by_dimension_names, by_xarray])
def test_axes_are_known_by_words_for_sizes_and_with_units(writer, names, shape, tmp_path):
    source = open_source(writer(tmp_path / "a.zarr", counts(shape), names))
    assert source.frame_map.axes == "ztyx"
    assert source.layout == Layout(T, Z, Y, X)


@pytest.mark.parametrize("names", [["first", "second", "third"], ["depth of focus", "lines", "samples"]])
def test_words_that_are_no_names_of_axes_are_refused_and_axes_can_be_given(names, tmp_path):
    path = by_dimension_names(tmp_path / "a.zarr", counts((Z, Y, X)), names)
    with pytest.raises(InputError, match=f"{names[0]}.*name the axes with --axes"):
        open_source(path)
    assert open_source(path, InputConfig(axes="zyx")).layout == Layout(1, Z, Y, X)


def test_sizes_in_place_of_names_are_ignored(tmp_path):
    """A light-sheet program writes sizes where names of axes belong."""
    path = by_xarray(tmp_path / "a.zarr", counts((T, Z, Y, X)), (T, Z, Y, X))
    assert open_source(path).layout == Layout(T, Z, Y, X)


def test_contradictory_axes_of_image_and_array_must_be_given_by_the_user(tmp_path):
    path = by_ome_0_5(tmp_path / "a.zarr", counts((T, Z, Y, X)), "tzyx")
    text = (path / "0" / "zarr.json").read_text()
    (path / "0" / "zarr.json").write_text(text.replace('"t",', '"w",').replace('"z",', '"t",').replace('"w",', '"z",'))
    with pytest.raises(InputError, match=r"name the axes 'tzyx', but array 0 names them \['z', 't', 'y', 'x'\]"):
        open_source(path)
    assert open_source(path, InputConfig(axes="ztyx")).layout == Layout(Z, T, Y, X)


def test_an_image_without_axes_has_those_of_its_array(tmp_path):
    path = by_ome_0_5(tmp_path / "a.zarr", counts((Z, Y, X)), "zyx")
    zarr.open_group(path).attrs["ome"] = {"version": "0.5", "multiscales": [{"datasets": [{"path": "0"}]}]}
    assert open_source(path).layout == Layout(1, Z, Y, X)


# --- OME-Zarr 0.6 -----------------------------------------------------------------------------------------------------


def scale(*values, **more):
    return {"type": "scale", "scale": list(values), "input": "0", "output": "physical", **more}


SIMPLE = {
    "scale": [scale(0.4, 0.108, 0.1)],
    "named by path": [scale(0.4, 0.108, 0.1, input={"path": "0"}, output={"name": "physical"})],
    "sequence": [
        {
            "type": "sequence",
            "input": "0",
            "output": "physical",
            "transformations": [
                {"type": "scale", "scale": [0.2, 0.108, 0.1]},
                {"type": "translation", "translation": [1, 2, 3]},
                {"type": "scale", "scale": [2, 1, 1]},
            ],
        }
    ],
}


def with_units(path):
    attributes = zarr.open_group(path).attrs["ome"]
    for axis in attributes["multiscales"][0]["coordinateSystems"][0]["axes"]:
        axis["unit"] = "micrometer"
    zarr.open_group(path).attrs["ome"] = attributes
    return path


@pytest.mark.parametrize("transforms", SIMPLE.values(), ids=SIMPLE)
def test_simple_transformations_give_pixel_size_and_z_step(transforms, tmp_path):
    data = counts((Z, Y, X))
    source = open_source(with_units(by_ome_0_6(tmp_path / "a.zarr", data, "zyx", transforms)))
    assert source.layout == Layout(1, Z, Y, X)
    assert (source.pixel_size, source.z_step_nm) == (PixelSize(x_nm=100, y_nm=108), 400)
    np.testing.assert_array_equal(source.read(plan_blocks(source.layout, "none", 9)[0]).adu_TYX, data)


def test_transformations_beyond_the_physical_system_are_ignored(tmp_path):
    """A shear from the physical system to that of the sample does not change the pixel size."""
    shear = {"type": "affine", "affine": [[1, 0, 0, 0]] * 3, "input": "physical", "output": "sample"}
    path = by_ome_0_6(tmp_path / "a.zarr", counts((Z, Y, X)), "zyx", SIMPLE["scale"], coordinateTransformations=[shear])
    assert open_source(with_units(path)).z_step_nm == 400


NOT_SIMPLE = {
    "affine": ([{"type": "affine", "affine": [], "output": "physical"}], "of type 'affine', expected scale"),
    "axes in another order": ([{"type": "mapAxis", "mapAxis": [0, 2, 1], "output": "physical"}], "of type 'mapAxis'"),
    "within a sequence": (
        [{"type": "sequence", "transformations": [{"type": "rotation"}], "output": "physical"}],
        "of type 'rotation'",
    ),
    "stored in an array": ([{"type": "scale", "path": "scales", "output": "physical"}], "stored in a separate array"),
    "to an unknown system": ([scale(1, 1, 1, output="elsewhere")], "system 'elsewhere', expected one of: physical"),
    "no transformation": ([], "0 transformations of level 0, expected one"),
}


@pytest.mark.parametrize(("transforms", "words"), NOT_SIMPLE.values(), ids=NOT_SIMPLE)
def test_other_transformations_are_refused_and_the_advice_works(transforms, words, tmp_path):
    path = by_ome_0_6(tmp_path / "a.zarr", counts((Z, Y, X)), "zyx", transforms)
    with pytest.raises(InputError, match=words) as caught:
        open_source(path)
    assert "name the axes with --axes" in str(caught.value)
    source = open_source(path, InputConfig(axes="zyx"))
    assert (source.layout, source.pixel_size) == (Layout(1, Z, Y, X), None)


# --- many stores ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("names", "shape"), [("tczyx", (1, 1, Z, Y, X)), ("ptzyx", (1, 1, Z, Y, X)), ("cyxz", (1, Y, X, Z))]
)
@pytest.mark.parametrize("as_glob", [False, True])
def test_stores_of_one_volume_each_are_volumes(as_glob, names, shape, writer, tmp_path):
    data = counts((T, *shape))
    for v in range(T):
        writer(tmp_path / "all" / f"v{v}.zarr", data[v], names)
    source = open_source(tmp_path / "all" / "v*.zarr" if as_glob else tmp_path / "all")
    assert source.layout == Layout(T, Z, Y, X)
    expected = (data if names[-1] == "x" else np.moveaxis(data, -1, 1)).reshape(-1, Y, X)
    for block in plan_blocks(source.layout, "plane", 4):
        np.testing.assert_array_equal(source.read(block).adu_TYX, expected[block.frames @ [Z, 1]])


@pytest.mark.parametrize("shape", [(2, 1, 1, Y, X), (2, 1, Y, X)])
def test_stores_of_frames_are_concatenated(shape, tmp_path):
    data = counts((3, *shape))
    for v in range(3):
        write(tmp_path / f"v{v}.zarr", data[v])
    source = open_source(tmp_path, InputConfig(planes_per_volume=3))
    assert source.layout == Layout(2, 3, Y, X)
    np.testing.assert_array_equal(source.read(plan_blocks(source.layout, "none", 9)[0]).adu_TYX, data.reshape(6, Y, X))


def test_one_of_several_positions_can_be_followed_while_it_grows(tmp_path):
    """Only the files of the selected position determine how many volumes are complete."""
    data = counts((2, 6, Y, X))
    path = write(tmp_path / "a.zarr", data, dimension_names=["p", "t", "y", "x"])
    shutil.rmtree(path / "c" / "1")
    growth = Growth(path, InputConfig(select={"p": 0}), settle_s=0)
    source = growth.look()
    assert source is not None
    assert source.layout.num_volumes == 5  # the last volume counts as complete only when a later one exists
    other = Growth(path, InputConfig(select={"p": 1}), settle_s=0).look()
    assert other is None


def test_a_position_is_read_from_chunks_of_several_positions(tmp_path):
    """Reading one position decodes all positions of a chunk, which a note says."""
    data = counts((3, T, Y, X))
    path = write(tmp_path / "a.zarr", data, chunks=(3, 1, Y, X), dimension_names=["p", "t", "y", "x"])
    source = open_source(path, InputConfig(select={"p": 1}))
    np.testing.assert_array_equal(source.read(plan_blocks(source.layout, "time", 3)[1]).adu_TYX, data[1, 2:])
    assert any("3 entries along axis 'p', all of them are decoded" in note for note in source.notes)
