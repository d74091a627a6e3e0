"""Advice in errors about datasets works. Other files test advice about names of axes and about lost frames."""

import re
import shutil

import numpy as np
import pytest
import zarr

from lls_decode.config import InputConfig
from lls_decode.errors import InputError
from lls_decode.frames import open_source
from tests.frames.test_open import SEVERAL, X, Y, camera, ome_of, plain, two_datasets, unequal_volumes, write


def option(name, choice=0):
    """Return a function that sets an option to the value suggested by the message."""

    def follow(path, config, message):
        value = re.findall(rf"--{name} (\w+)", message)[choice]
        return path, {**config, name: int(value) if value.isdigit() and name == "channel" else value}

    return follow


def without(name):
    return lambda path, config, message: (path, {key: value for key, value in config.items() if key != name})


def with_(**more):
    return lambda path, config, message: (path, {**config, **more})


def one_store(path, config, message):
    return re.findall(r"\S+\.zarr/a\.zarr", message)[0], config


def pattern(path, config, message):
    return f"{path}/v1*", config


def levels(path):
    ome_of("tyx", (3, Y, X))(path)
    text = (path / ".zattrs").read_text()
    (path / ".zattrs").write_text(text.replace("}]}]}]}", '}]}, {"path": "1"}]}]}'))
    shutil.copytree(path / "0", path / "1")
    return path


def beside(shape, **options):
    """Return a function that writes a group with an unusable array ``a`` and a usable array ``b``."""

    def make(path):
        zarr.create_group(path)
        write(path / "a", np.zeros(shape, options.get("dtype", "uint16")))
        write(path / "b", camera((3, Y, X)))
        return path

    return make


ADVICE = {
    "channels": (plain((2, 2, 3, Y, X)), {}, option("channel")),
    "no such channel": (plain((2, 2, 3, Y, X)), {"channel": 2}, option("channel")),
    "channel of a movie without channels": (plain((3, Y, X)), {"channel": 1}, without("channel")),
    "planes of a stack": (plain((2, 3, Y, X)), {"planes_per_volume": 4}, without("planes_per_volume")),
    "planes of a flat stream": (plain((2, 3, Y, X)), {"planes_per_volume": 2}, with_(axes="tpyx", select={"p": 0})),
    "too short": (plain((3, Y, X)), {"planes_per_volume": 4}, with_(planes_per_volume=3)),
    "all skipped": (plain((8, Y, X)), {"planes_per_volume": 4, "skip_first": 3, "skip_last": 1}, without("skip_last")),
    "skipped from volumes of one frame": (plain((8, Y, X)), {"skip_first": 1}, with_(planes_per_volume=4)),
    "frames last": (plain((32, 40, 50), chunks=(32, 40, 1)), {}, option("axes", 0)),
    "frames last, second suggestion": (plain((32, 40, 50), chunks=(32, 40, 1)), {}, option("axes", 1)),
    "too few axes": (plain((3, Y, X)), {"axes": "yx"}, with_(axes="tyx")),
    "six axes": (plain((1, 1, 1, 3, Y, X)), {}, with_(axes="pmctyx")),
    "another array, 1-D": (beside((9,)), {"array": "a"}, with_(array="b")),
    "another array, complex": (beside((3, Y, X), dtype="complex64"), {"array": "a"}, with_(array="b")),
    "another array, empty": (beside((0, Y, X)), {"array": "a"}, with_(array="b")),
    "no such array": (beside((3, Y, X)), {"array": "c"}, with_(array="b")),
    "reduced level": (levels, {"array": "1"}, option("array")),
    **{f"several: {name}": (make, {}, option("array")) for name, (make, _, _) in SEVERAL.items() if name != "plate"},
    "two datasets": (two_datasets, {}, one_store),
    "unequal volumes": (unequal_volumes, {}, pattern),
    "ome axes of another array": (ome_of("tzyx", (2, Y, X)), {}, with_(axes="tyx")),
    "unknown ome axis": (ome_of("tqyx", (2, 3, Y, X)), {}, with_(select={"q": 2})),
}


@pytest.mark.parametrize(("make", "config", "follow"), ADVICE.values(), ids=ADVICE)
def test_following_the_advice_opens_the_dataset(make, config, follow, tmp_path):
    path = make(tmp_path / "a.zarr")
    with pytest.raises(InputError) as caught:
        open_source(path, InputConfig(**config))
    path, config = follow(path, config, str(caught.value))
    assert open_source(path, InputConfig(**config)).layout.num_frames > 0
