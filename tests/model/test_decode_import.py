"""Import of models trained by DECODE: outputs equal those of DECODE, and unsuitable files are refused."""

import copy
import csv
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
import zarr
from torch import Tensor
from torch.nn import functional as F

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import (
    AuthorsRule,
    ComputeConfig,
    EmccdCamera,
    NetworkConfig,
    PixelSize,
    RunConfig,
    Scaling,
    ScmosCamera,
)
from lls_decode.errors import BundleError, OutputError
from lls_decode.frames import FrameStack
from lls_decode.localize import build_localizer
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.place import to_emitters
from lls_decode.model.bundle import load_bundle
from lls_decode.model.decode_import import import_decode
from lls_decode.model.info import read_bundle_info
from lls_decode.model.network import OutputMaps
from lls_decode.optics import build_camera
from lls_decode.pipelines.cli import main

State = dict[str, Tensor]
Params = dict[str, Any]

PARAMS: Params = {
    "HyperParameter": {
        "architecture": "SigmaMUNet",
        "channels_in": 3,
        "disabled_attributes": None,
        "arch_param": {"initial_features": 5, "inter_features": 5, "depth": None, "init_custom": True},
    },
    "Scaling": {"input_scale": 200.0, "input_offset": 120.0, "phot_max": 3.4e4, "z_max": 900.0, "bg_max": 180.0},
    "Camera": {"baseline": 100.0, "e_per_adu": 0.5, "em_gain": None, "read_sigma": 1.5, "px_size": [110.0, 97.0]},
}
SPANS = (1, 1, 2, 2, 2, 3, 3, 3, 3, 1)
"""Range spanned by each output of DECODE: probability, photons, x, y, z, their four sigmas, background."""
DECODE_ORDER = ("probability", "photons", "y", "x", "z", "photons_sig", "y_sig", "x_sig", "z_sig", "bg")
"""Our name for each output of DECODE, whose x is the row coordinate."""


# --- DECODE's network, as shapes of weights and as formulas ----------------------------------------------------------


def decode_weights(f: int, g: int, *, frames: int = 3, channels: int = 1, seed: int = 0) -> State:
    """Return random weights in DECODE's layout: ``f`` initial and ``g`` inter features, ``channels`` per frame."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {"sigma_eps": torch.tensor([0.001])}

    def conv(name: str, outputs: int, inputs: int, size: int) -> None:
        deviation = (2 / (inputs * size**2)) ** 0.5
        state[f"{name}.weight"] = torch.randn(outputs, inputs, size, size, generator=generator) * deviation
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1

    for unet, inputs in (("unet_shared", channels), ("unet_union", frames * g)):
        conv(f"{unet}.encoder.0.0", f, inputs, 3)
        conv(f"{unet}.encoder.0.2", f, f, 3)
        conv(f"{unet}.encoder.1.0", 2 * f, f, 3)
        conv(f"{unet}.encoder.1.2", 2 * f, 2 * f, 3)
        conv(f"{unet}.base.0", 4 * f, 2 * f, 3)
        conv(f"{unet}.base.2", 4 * f, 4 * f, 3)
        conv(f"{unet}.decoder.0.0", 2 * f, 4 * f, 3)
        conv(f"{unet}.decoder.0.2", 2 * f, 2 * f, 3)
        conv(f"{unet}.decoder.1.0", f, 2 * f, 3)
        conv(f"{unet}.decoder.1.2", f, f, 3)
        conv(f"{unet}.poolers.0", f, f, 2)
        conv(f"{unet}.poolers.1", 2 * f, 2 * f, 2)
        conv(f"{unet}.upsamplers.0.conv", 2 * f, 4 * f, 1)
        conv(f"{unet}.upsamplers.1.conv", f, 2 * f, 1)
        conv(f"{unet}.out_conv", g, f, 1)
    for head, outputs in enumerate((1, 4, 4, 1)):
        conv(f"mt_heads.{head}.core.0", g, g, 3)
        conv(f"mt_heads.{head}.out_conv", outputs, g, 1)
    return state


def decode_outputs(state: State, frames_NCYX: Tensor, *, disabled: tuple[int, ...] = ()) -> Tensor:
    """Return the outputs (N, 10, Y, X) of DECODE's network, computed window by window as in `decode.md`'s table.

    With a noise map, each frame is followed by its map as a further channel.
    """
    w = {name: value.double() for name, value in state.items()}

    def conv(name: str, x: Tensor, **options: int) -> Tensor:
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options)

    def two(name: str, x: Tensor) -> Tensor:
        return F.elu(conv(f"{name}.2", F.elu(conv(f"{name}.0", x, padding=1)), padding=1))

    def unet(name: str, x: Tensor) -> Tensor:
        full = two(f"{name}.encoder.0", x)
        half = two(f"{name}.encoder.1", conv(f"{name}.poolers.0", full, stride=2))
        x = two(f"{name}.base", conv(f"{name}.poolers.1", half, stride=2))
        for level, skip in enumerate((half, full)):
            x = conv(f"{name}.upsamplers.{level}.conv", F.interpolate(x, scale_factor=2))
            x = two(f"{name}.decoder.{level}", torch.cat([skip, x], dim=1))
        return conv(f"{name}.out_conv", x)

    each = frames_NCYX.double().split(w["unet_shared.encoder.0.0.weight"].shape[1], dim=1)
    seen = [unet("unet_shared", x) for x in each]
    x = unet("unet_union", torch.cat(seen, dim=1))
    p, mean, sigma, bg = (
        conv(f"mt_heads.{i}.out_conv", F.elu(conv(f"mt_heads.{i}.core.0", x, padding=1))) for i in range(4)
    )
    mean = torch.cat([mean[:, :1].sigmoid(), mean[:, 1:].tanh()], dim=1)
    sigma = 3 * sigma.sigmoid() + w["sigma_eps"]
    for attribute in disabled:
        mean[:, attribute], sigma[:, attribute] = 0.0, 0.1
    return torch.cat([p.clamp(-8, 8).sigmoid(), mean, sigma, bg.sigmoid()], dim=1)


def in_decode_order(maps: OutputMaps) -> Tensor:
    """Return our output maps as DECODE's ten channels, whose x is the row coordinate."""
    return torch.stack([getattr(maps, name) for name in DECODE_ORDER], dim=1)


def windows_of(num_frames: int) -> np.ndarray:
    """Return indices of the previous, this and the next frame; the first and last frame replace missing neighbours."""
    return np.clip(np.arange(num_frames)[:, None] + [-1, 0, 1], 0, num_frames - 1)


def changed(**changes: Any) -> Params:
    """Return a copy of `PARAMS` with changes; ``__`` separates the levels of a nested name."""
    params = copy.deepcopy(PARAMS)
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = params
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return params


def write(folder: Path, state: Any, params: Params) -> tuple[Path, Path]:
    model, yaml_path = folder / "model_0.pt", folder / "param_run.yaml"
    torch.save(state, model)
    yaml_path.write_text(yaml.safe_dump(params))
    return model, yaml_path


# --- comparison with outputs of the original DECODE ------------------------------------------------------------------

CROP_COLUMN = 2
"""First column of DECODE's centre crop from 48 x 43 to 48 x 40 pixels; its first row is 0."""


@pytest.fixture(scope="session")
def official(shared_data: Path) -> Path:
    return shared_data / "decode_official"


@pytest.fixture(scope="session")
def imported(official: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "official.lls"
    import_decode(official / "model_0.pt", official / "param_run.yaml", out)
    return out


@pytest.fixture(scope="session")
def crop(official: Path) -> np.ndarray:
    return np.ascontiguousarray(tifffile.imread(official / "frames.tif")[:, :, CROP_COLUMN : CROP_COLUMN + 40])


@pytest.fixture(scope="session")
def localizer(imported: Path) -> Localizer:
    info = read_bundle_info(imported)
    config = RunConfig(
        camera=info.camera,
        pixel_size=info.pixel_size,
        detection=AuthorsRule(),
        compute=ComputeConfig(device="cpu", dtype="float32", batch_px=4 * 48 * 40),
    )
    return build_localizer(imported, config, Layout(9, 1, 48, 40))


@pytest.fixture(scope="session")
def decode_emitters(official: Path) -> dict[str, np.ndarray]:
    with (official / "emitters.csv").open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == 1594
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def test_frames_become_the_same_network_input_as_in_decode(
    official: Path, crop: np.ndarray, localizer: Localizer
) -> None:
    scaling = localizer.bundle.info.scaling
    photons = localizer.camera.to_photons(torch.from_numpy(crop))
    expected = np.load(official / "expected.npz")["network_input"]
    np.testing.assert_allclose((photons - scaling.input_offset) / scaling.input_scale, expected, atol=1e-6)


def test_network_outputs_equal_those_of_decode_within_float32(official: Path, imported: Path) -> None:
    """Ours are float64 and DECODE's are stored as float32, so they differ by less than 1e-5 of each output's range."""
    expected = np.load(official / "expected.npz")
    network = load_bundle(imported).network.double()
    frames, windows = torch.from_numpy(expected["network_input"]).double(), torch.from_numpy(windows_of(9))
    found = in_decode_order(network.decode(network.encode(frames), windows)).numpy()
    assert found.shape == expected["network_output"].shape == (9, 10, 48, 40)
    difference = np.abs(found - expected["network_output"]).max(axis=(0, 2, 3)) / SPANS
    assert (difference < 1e-5).all(), difference


def test_localizer_outputs_equal_those_of_decode(official: Path, crop: np.ndarray, localizer: Localizer) -> None:
    """From camera counts, in float32 batches, both programs round, so that outputs differ slightly."""
    output = np.load(official / "expected.npz")["network_output"]
    found = localizer.find(crop, windows_of(9))
    expected = output[found.window, 1:, found.y_px, found.x_px]
    difference = np.abs(np.stack([getattr(found, name) for name in DECODE_ORDER[1:]], axis=1) - expected)
    assert (difference.max(axis=0) / SPANS[1:] < 2e-5).all(), difference.max(axis=0)
    assert np.median(difference) < 2e-6


def test_the_authors_rule_finds_the_emitters_of_decode(
    crop: np.ndarray, localizer: Localizer, decode_emitters: dict[str, np.ndarray]
) -> None:
    """All 1594 emitters agree one by one, with positions in nm in the frame before cropping and x along columns."""
    found = localizer.find(crop, windows_of(9))
    theirs, ours = decode_emitters, to_emitters(found, localizer.bundle.info.scaling, localizer.pixel)
    assert len(found) == 1594
    np.testing.assert_array_equal(found.window, theirs["frame_ix"])
    in_frame_nm = ours.x_nm + 100 * CROP_COLUMN
    np.testing.assert_allclose(in_frame_nm, 100 * (theirs["y"] + CROP_COLUMN), atol=0.01)
    np.testing.assert_allclose(ours.y_nm, 100 * theirs["x"], atol=0.01)
    np.testing.assert_allclose(ours.z_nm, theirs["z"], atol=0.05)
    np.testing.assert_allclose(found.prob, theirs["prob"], atol=1e-4)
    np.testing.assert_allclose(34000 * found.photons, theirs["phot"], rtol=1e-3, atol=1)
    np.testing.assert_allclose(180 * found.bg, theirs["bg"], atol=0.01)
    np.testing.assert_allclose(found.x_sig, theirs["y_sig"], atol=1e-4)
    np.testing.assert_allclose(found.y_sig, theirs["x_sig"], atol=1e-4)
    np.testing.assert_allclose(900 * found.z_sig, theirs["z_sig"], atol=0.1)


def test_rows_of_the_table_are_the_emitters_of_decode(
    crop: np.ndarray, localizer: Localizer, decode_emitters: dict[str, np.ndarray]
) -> None:
    (block,) = plan_blocks(Layout(9, 1, 48, 40), "time", 512)
    table = localizer.run(FrameStack(crop, block))
    order = np.lexsort((decode_emitters["y"], decode_emitters["x"], decode_emitters["frame_ix"]))
    np.testing.assert_array_equal(table["frame"], decode_emitters["frame_ix"][order])
    np.testing.assert_allclose(table["y_nm"], 100 * decode_emitters["x"][order], atol=0.01)
    np.testing.assert_allclose(table["x_nm"], 100 * decode_emitters["y"][order], atol=0.01)


# --- supported networks of other sizes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "g", "changes"),
    [
        pytest.param(48, 48, {}, id="full size"),
        pytest.param(48, 48, {"HyperParameter__channels_in": 1}, id="full size, one frame"),
        pytest.param(5, 5, {}, id="any number of filters"),
        pytest.param(6, 4, {}, id="fewer features than filters"),
        pytest.param(4, 7, {}, id="more features than filters"),
        pytest.param(3, 2, {}, id="fewer filters than our minimum"),
        pytest.param(4, 6, {"HyperParameter__channels_in": 1}, id="one frame"),
        pytest.param(5, 5, {"HyperParameter__disabled_attributes": 3}, id="without z"),
        pytest.param(5, 5, {"HyperParameter__disabled_attributes": [3]}, id="without z, as a list"),
        pytest.param(5, 5, {"Camera__mirror_dim": -1}, id="columns mirrored"),
        pytest.param(5, 6, {"Camera__mirror_dim": -2}, id="rows mirrored"),
    ],
)
def test_imported_networks_give_the_same_outputs(f: int, g: int, changes: Params, tmp_path: Path) -> None:
    """Outputs equal a plain float64 evaluation of each window; mirrored frames give mirrored positions."""
    widths = {f"HyperParameter__arch_param__{name}_features": n for name, n in (("initial", f), ("inter", g))}
    params = changed(**widths, **changes)
    single = params["HyperParameter"]["channels_in"] == 1
    mirror, no_z = params["Camera"].get("mirror_dim"), params["HyperParameter"]["disabled_attributes"] is not None
    state = decode_weights(f, g, frames=1 if single else 3)
    info = import_decode(*write(tmp_path, state, params), tmp_path / "a.lls")
    assert info.network == NetworkConfig(filters=max(f, g, 4), context="none" if single else "time", predict_z=not no_z)

    frames = torch.randn(4, 12, 20, generator=torch.Generator().manual_seed(1)).double()
    seen = frames if mirror is None else frames.flip(mirror)
    windows = windows_of(4)
    expected = decode_outputs(state, seen[:, None] if single else seen[windows], disabled=(3,) if no_z else ())
    if mirror is not None:
        expected = expected.flip(mirror)
        expected[:, 2 if mirror == -2 else 3] *= -1  # DECODE's x is the row coordinate

    network = load_bundle(tmp_path / "a.lls").network.double()
    found = in_decode_order(network.decode(network.encode(frames), torch.from_numpy(windows)))
    assert found.std(dim=(0, 2, 3))[[0, 1, 2, 3, 5, 6, 7, 9]].min() > 0.01, "constant outputs would test nothing"
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)


SCMOS = {
    "CameraPreset": "scmos",
    "HyperParameter__sig_in": 1,
    "Camera__em_gain": 2.0,
    "Camera__e_per_adu": 1.0,
    "Camera__read_sigma": [3.0, 2.5, 0.5],
}
"""DECODE parameters of an sCMOS camera: 2 counts per photon and a mean read noise of 3 * 0.5 + 2.5 = 4 counts."""


@pytest.mark.parametrize("frames", [3, 1])
def test_imported_networks_with_a_noise_map_give_the_same_outputs(frames: int, tmp_path: Path) -> None:
    """Counts and a noise map in counts, as DECODE takes them, go through our camera and scaling."""
    params = changed(**SCMOS, HyperParameter__channels_in=frames)
    state = decode_weights(5, 5, frames=frames, channels=2)
    info = import_decode(*write(tmp_path, state, params), tmp_path / "a.lls")
    assert info.network.noise_map
    assert info.network.context == ("time" if frames == 3 else "none")
    assert info.camera == ScmosCamera(offset_adu=100, gain_adu_per_e=2, variance_adu2=16)

    generator = torch.Generator().manual_seed(1)
    adu = torch.randint(100, 900, (4, 12, 20), generator=generator)
    sigma_adu = 3 + 20 * torch.rand(12, 20, generator=generator)
    images = ((adu - 100) / 2.0 - 120) / 200  # PARAMS["Scaling"]
    each = torch.stack([images, ((sigma_adu - 5) / 10).expand(4, -1, -1)], dim=1)
    windows = windows_of(4) if frames == 3 else np.arange(4)[:, None]
    expected = decode_outputs(state, torch.cat([each[windows[:, i]] for i in range(frames)], dim=1))

    np.save(tmp_path / "variance.npy", sigma_adu.double().numpy() ** 2)
    camera = info.camera.replace(variance_adu2=str(tmp_path / "variance.npy"))
    config = RunConfig(camera=camera, pixel_size=info.pixel_size, compute=ComputeConfig(device="cpu", dtype="float32"))
    localizer = build_localizer(tmp_path / "a.lls", config, Layout(4, 1, 12, 20))
    with torch.inference_mode():
        windows = windows_of(4) if frames == 3 else windows.repeat(3, axis=1)
        counts = adu.numpy().astype(np.uint16)
        features = localizer._encode(torch.from_numpy(counts), localizer.camera)
        found = in_decode_order(localizer.bundle.network.decode(features, torch.from_numpy(windows)))
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)
    assert found.std(dim=(0, 2, 3))[[0, 1, 2, 3, 5, 6, 7, 9]].min() > 0.01, "constant outputs would test nothing"


def test_models_trained_on_a_sweep_get_plane_context(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neighbours are the adjacent planes without a shift in pixels, because DECODE does not align them."""
    params = changed(**SCMOS, Simulation__lls_step_size_nm=400.0)
    info = import_decode(*write(tmp_path, decode_weights(5, 5, channels=2), params), tmp_path / "a.lls")
    assert (info.network.context, info.network.shift_px, info.geometry) == ("plane", 0, None)
    assert "planes 400 nm of stage travel apart" in caplog.text


# --- parameters ------------------------------------------------------------------------------------------------------


def test_bundle_info_comes_from_the_parameters_of_decode(official: Path, imported: Path) -> None:
    info = read_bundle_info(imported)
    assert info.name == "official"
    assert info.licence == "unknown"
    assert info.scaling == Scaling(input_scale=200, input_offset=120, photons=34000, z_nm=900, bg=180)
    assert (info.z_range_nm, info.photons_range, info.bg_range) == ((-750, 750), (4000, 16000), (90, 150))
    assert info.psf is None
    assert info.imported_from == "DECODE"
    sums = dict(line.split(maxsplit=1)[::-1] for line in (official.parent / "SHA256SUMS").read_text().splitlines())
    for kind, name in (("model", "model_0.pt"), ("params", "param_run.yaml")):
        found = info.training[kind]
        assert found == {"file": name, "sha256": next(v for k, v in sums.items() if k.endswith(f"official/{name}"))}


def test_missing_parameters_take_the_defaults_of_decode(tmp_path: Path) -> None:
    params = {name: PARAMS[name] for name in ("Scaling", "Camera")}
    info = import_decode(*write(tmp_path, decode_weights(48, 48), params), tmp_path / "a.lls", name="b", licence="MIT")
    assert (info.name, info.licence) == ("b", "MIT")
    assert info.network == NetworkConfig(filters=48, context="time")
    assert info.pixel_size == PixelSize(x_nm=97, y_nm=110), "DECODE gives rows, then columns"
    assert (info.z_range_nm, info.photons_range, info.bg_range) == ((-900, 900), (0, 34000), (0, 180))


CAMERAS = [
    pytest.param({}, ScmosCamera(offset_adu=100, gain_adu_per_e=2, variance_adu2=9), id="no gain"),
    pytest.param(
        {"em_gain": 0}, ScmosCamera(offset_adu=100, gain_adu_per_e=2, variance_adu2=9), id="a gain of 0 means no gain"
    ),
    pytest.param(
        {"em_gain": 1, "spur_noise": 0.25, "qe": 0.9},
        ScmosCamera(offset_adu=100.5, gain_adu_per_e=2, variance_adu2=10, quantum_efficiency=0.9),
        id="spurious charge is added to the offset",
    ),
    pytest.param(
        {"em_gain": 1.5, "e_per_adu": 1.0, "read_sigma": 4.5, "preset": "scmos"},
        ScmosCamera(offset_adu=100, gain_adu_per_e=1.5, variance_adu2=20.25),
        id="sCMOS preset: em_gain is counts per photon, read noise is in counts",
    ),
    pytest.param(
        {"em_gain": 300, "e_per_adu": 45.0, "read_sigma": 74.4, "spur_noise": 0.002, "qe": 0.95},
        EmccdCamera(
            baseline_adu=100,
            e_per_adu=45,
            em_gain=300,
            read_sigma_e=74.4,
            spurious_e=0.002,
            quantum_efficiency=0.95,
        ),
        id="EM gain",
    ),
]


@pytest.mark.parametrize(("theirs", "expected"), CAMERAS)
def test_imported_cameras_convert_counts_and_simulate_noise_as_decode(
    theirs: Params, expected: EmccdCamera | ScmosCamera, tmp_path: Path
) -> None:
    """Counts convert to photons by DECODE's formula, and simulated noise has the moments of DECODE's simulation."""
    theirs = dict(theirs)
    preset = theirs.pop("preset", None)
    params = changed(CameraPreset=preset, **{f"Camera__{name}": value for name, value in theirs.items()})
    model, yaml_path = write(tmp_path, decode_weights(5, 5), params)
    assert import_decode(model, yaml_path, tmp_path / "a.lls").camera == expected
    assert read_bundle_info(tmp_path / "a.lls").camera == expected

    c = params["Camera"]
    if preset:  # restate em_gain (here counts per photon) and read noise (here in counts) for a camera without EM gain
        c = {**c, "e_per_adu": 1 / c["em_gain"], "em_gain": None, "read_sigma": c["read_sigma"] / c["em_gain"]}
    spurious, efficiency, gain = c.get("spur_noise", 0), c.get("qe", 1), c["em_gain"] or 1
    camera = build_camera(expected, 8, 8)
    counts = torch.randint(90, 4000, (8, 8), generator=torch.Generator().manual_seed(0))
    photons = ((counts.double() - c["baseline"]) * c["e_per_adu"] / gain - spurious) / efficiency
    torch.testing.assert_close(camera.to_photons(counts).double(), photons, rtol=1e-6, atol=1e-4)

    simulated = camera.to_adu(torch.full((100_000,), 50.0), torch.Generator().manual_seed(0)).double()
    electrons = 50 * efficiency + spurious
    variance = (electrons * (2 * gain**2 if gain > 1 else 1) + c["read_sigma"] ** 2) / c["e_per_adu"] ** 2
    assert float(simulated.var()) == pytest.approx(variance + 1 / 12, rel=0.02)
    assert float(simulated.mean()) == pytest.approx(c["baseline"] + electrons * gain / c["e_per_adu"], rel=0.01)


# --- files -----------------------------------------------------------------------------------------------------------


def test_parameters_are_found_in_the_folder_of_the_model(tmp_path: Path) -> None:
    model, _ = write(tmp_path, decode_weights(5, 5), PARAMS)
    assert import_decode(model, None, tmp_path / "a.lls").network.filters == 5


def test_weights_are_taken_from_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = decode_weights(5, 5)
    checkpoint = {"step": 7, "model_state": state, "optimizer_state": {"state": {}}, "lr_sched_state": {}, "log": []}
    model, params = write(tmp_path, state, PARAMS)
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    import_decode(model, params, tmp_path / "a.lls")
    with caplog.at_level(logging.INFO):
        import_decode(tmp_path / "ckpt.pt", params, tmp_path / "b.lls")
    assert "checkpoint (step 7); importing its weights" in caplog.text
    one, other = (load_bundle(tmp_path / name).network.state_dict() for name in ("a.lls", "b.lls"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("newest", "told"),
    [pytest.param("model_1.pt", True, id="another file"), pytest.param("model_0.pt", False, id="this file")],
)
def test_importing_an_older_rotated_model_names_the_newest(
    newest: str, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, params = write(tmp_path, decode_weights(5, 5), PARAMS)
    for name in ("model_0.pt", "model_1.pt", "model_2.pt", "model_best.pt"):
        path = tmp_path / name
        if path != model:
            shutil.copy(model, path)
        os.utime(path, (1000, 2000 if name in (newest, "model_best.pt") else 1000))
    import_decode(model, params, tmp_path / "a.lls")
    assert ("model_0.pt is not the newest" in caplog.text) is told
    assert ("model_1.pt is newer" in caplog.text) is told


def test_a_z_range_beyond_the_scale_of_z_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """DECODE derives its scale of z from the upper limit only, so that lower z values may be out of range."""
    extent = [[-0.5, 39.5], [-0.5, 39.5], [-800, 200]]
    params = changed(Simulation__emitter_extent=extent, Scaling__z_max=240.0)
    info = import_decode(*write(tmp_path, decode_weights(5, 5), params), tmp_path / "a.lls")
    assert info.z_range_nm == (-800, 200)
    assert info.scaling.z_nm == 240
    assert "from -800 to 200 nm, but can predict only up to 240 nm" in caplog.text


def test_models_without_z_need_no_scale_of_z(tmp_path: Path) -> None:
    params = changed(Scaling__z_max=0, HyperParameter__disabled_attributes=3)
    info = import_decode(*write(tmp_path, decode_weights(5, 5), params), tmp_path / "a.lls")
    assert not info.network.predict_z


class Bomb:
    """Object whose unpickling fails the test."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return pytest.fail, ("a pickle was executed",)


def renamed(old: str, new: str) -> State:
    return {name.replace(old, new): value for name, value in decode_weights(5, 5).items()}


def with_value(name: str, value: Tensor) -> State:
    return {**decode_weights(5, 5), name: value}


def without(name: str) -> State:
    return {key: value for key, value in decode_weights(5, 5).items() if key != name}


NAN = torch.full((5,), float("nan"))
NOISE_MAP = torch.zeros(5, 2, 3, 3)
FOREIGN_WEIGHTS = [
    pytest.param(decode_weights(5, 5) | {"extra": Bomb()}, "could run code", id="code"),
    pytest.param(Bomb(), "could run code", id="only code"),
    pytest.param(torch.zeros(3), "holds Tensor, expected named tensors", id="a tensor"),
    pytest.param([decode_weights(5, 5)], "holds list, expected named tensors", id="a list"),
    pytest.param({"epoch": 3}, "expected named tensors", id="a record"),
    pytest.param(
        {"step": 1, "model_state": [1]}, "holds list, expected named tensors", id="a checkpoint that holds a list"
    ),
    pytest.param({}, "another network .keys: none", id="empty"),
    pytest.param({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "another network .keys: conv1.weight", id="other keys"),
    pytest.param(without("mt_heads.3.out_conv.bias"), "mt_heads.3.out_conv.bias: absent", id="without a weight"),
    pytest.param(without("sigma_eps"), "sigma_eps: absent", id="without the smallest sigma"),
    pytest.param(renamed("core.0", "core.1"), "core.1.*no such weights|core.0.*absent", id="group norm in the heads"),
    pytest.param(with_value("mt_heads.4.core.0.bias", NAN), "mt_heads.4.*no such weights", id="an additional head"),
    pytest.param(with_value("unet_union.poolers.0.bias", torch.zeros(6)), "poolers.0.bias: .6,.", id="another shape"),
    pytest.param(
        with_value("unet_shared.encoder.0.0.weight", NOISE_MAP),
        "has 2 input.* has 1",
        id="an unexpected noise map",
    ),
    pytest.param(
        with_value("unet_shared.encoder.0.0.weight", torch.zeros(5, 4, 3, 3)),
        "another network",
        id="too many input channels",
    ),
    pytest.param(with_value("unet_shared.out_conv.bias", NAN), "out_conv.bias holds .* not finite", id="NaN"),
    pytest.param(with_value("sigma_eps", torch.tensor([0.01])), r"sigma_eps.* is 0\.01", id="another smallest sigma"),
    pytest.param(decode_weights(5, 5, frames=1), "unet_union.encoder.0.0.weight", id="one frame, parameters say three"),
    pytest.param(
        decode_weights(6, 5), "5 initial and 5 inter features, .* has 6 and 5", id="parameters of another model"
    ),
]


def assert_refused(model: Path, params: Path, words: str) -> None:
    out = model.with_name("out.lls")
    with pytest.raises(BundleError, match=words) as caught:
        import_decode(model, params, out)
    message = str(caught.value)
    assert "\n" not in message
    assert str(model.parent) in message
    assert not out.exists()


@pytest.mark.parametrize(("state", "words"), FOREIGN_WEIGHTS)
def test_unsuitable_weights_are_refused(state: Any, words: str, tmp_path: Path) -> None:
    assert_refused(*write(tmp_path, state, PARAMS), words)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda path: path.unlink(), "cannot be read", id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), "not a torch file", id="empty"),
        pytest.param(
            lambda path: path.write_bytes(bytes(range(256)) * 40), "could run code|not a torch file", id="noise"
        ),
        pytest.param(lambda path: path.write_bytes(pickle.dumps(Bomb())), "could run code", id="a pickle"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:9000]), "not a torch file", id="truncated"),
        pytest.param(lambda path: os.truncate(path, 1 << 33), "holds 8,589,934,592 bytes or more", id="8 GB of zeros"),
        pytest.param(lambda path: path.write_text("x,y\n1,2\n"), "could run code|not a torch file", id="text"),
    ],
)
def test_files_that_hold_no_weights_are_refused(spoil: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    model, params = write(tmp_path, decode_weights(5, 5), PARAMS)
    spoil(model)
    assert_refused(model, params, words)


def arch(**changes: Any) -> Params:
    return changed(**{f"HyperParameter__arch_param__{name}": value for name, value in changes.items()})


REFUSED_PARAMS = [
    pytest.param(changed(HyperParameter__architecture="DoubleMUnet"), "architecture 'DoubleMUnet'", id="architecture"),
    pytest.param(arch(depth_shared=3), "depth_shared is 3, but only 2", id="depth"),
    pytest.param(arch(depth_union=1), "depth_union is 1, but only 2", id="depth of the union"),
    pytest.param(arch(activation="ReLU"), "activation is 'ReLU', but only 'ELU'", id="activation"),
    pytest.param(arch(norm="GroupNorm"), "norm is 'GroupNorm'", id="norm"),
    pytest.param(arch(norm_head="GroupNorm"), "norm_head is 'GroupNorm'", id="norm of the heads"),
    pytest.param(arch(pool_mode="MaxPool"), "pool_mode is 'MaxPool'", id="pooling"),
    pytest.param(arch(upsample_mode="bilinear"), "upsample_mode is 'bilinear'", id="up-sampling"),
    pytest.param(
        changed(HyperParameter__sig_in=1),
        "CameraPreset is None.*unit of counts",
        id="noise map without a camera preset",
    ),
    pytest.param(changed(**SCMOS), "has 1 input.* has 2", id="noise map that the weights lack"),
    pytest.param(changed(**SCMOS | {"Camera__em_gain": None}), "counts per photon", id="sCMOS without its gain"),
    pytest.param(changed(Camera__read_sigma=[3.0, 2.5, 0.5]), "expected one number", id="a distribution of noise"),
    pytest.param(changed(HyperParameter__channels_in=2), "channels_in", id="two frames"),
    pytest.param(changed(HyperParameter__disabled_attributes=0), r"holds \[0\], but only z", id="photons disabled"),
    pytest.param(changed(HyperParameter__disabled_attributes=[1, 3]), r"holds \[1\], but only z", id="x disabled"),
    pytest.param(
        changed(Scaling__input_scale=None), "input_scale.*param_run_in.yaml has no scalings", id="scaling not filled in"
    ),
    pytest.param(changed(Scaling__phot_max=0), "phot_max.*greater than 0", id="scale of photons is zero"),
    pytest.param(changed(Scaling__z_max=0), "z_max is 0", id="scale of z is zero"),
    pytest.param(changed(Scaling__z_max=None), "z_max is None", id="no scale of z"),
    pytest.param(changed(Camera__em_gain=0.5), "em_gain is 0.5", id="a gain below 1"),
    pytest.param(changed(Camera__e_per_adu=0), "e_per_adu.*greater than 0", id="counts without electrons"),
    pytest.param(changed(Camera__px_size=None), "px_size", id="no pixel size"),
    pytest.param(changed(Camera__mirror_dim=0), "mirror_dim", id="mirrored in time"),
    pytest.param(changed(Camera__convert2photons=False), "convert2photons is false", id="no conversion to photons"),
    pytest.param(changed(Camera__read_sigma=float("nan")), "read_sigma.*finite", id="not a number"),
    pytest.param({"Scaling": PARAMS["Scaling"]}, "Camera.*required", id="no camera"),
    pytest.param({}, "Scaling.*required", id="nothing"),
]


@pytest.mark.parametrize(("params", "words"), REFUSED_PARAMS)
def test_unsupported_parameters_are_refused(params: Params, words: str, tmp_path: Path) -> None:
    assert_refused(*write(tmp_path, decode_weights(5, 5), params), words)


def test_missing_and_malformed_parameter_files_are_refused(tmp_path: Path) -> None:
    model, params = write(tmp_path, decode_weights(5, 5), PARAMS)
    assert_refused(model, tmp_path / "absent.yaml", "absent.yaml cannot be read.*give the param_run.yaml")
    params.write_text("- 1")
    assert_refused(model, params, "holds list, expected a mapping")


def test_importing_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    model, params = write(tmp_path, decode_weights(5, 5), PARAMS)
    with pytest.raises(OutputError, match="cannot be written"):
        import_decode(model, params, tmp_path / "absent" / "a.lls")


# --- command line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command and returns its exit status, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return call


def test_a_model_is_imported_and_planned_on_the_command_line(
    official: Path, crop: np.ndarray, tmp_path: Path, invoke: Callable[..., tuple[int, str, str]]
) -> None:
    """The plan of a run states that the model was imported, and by which detection rule it is used."""
    bundle, movie = tmp_path / "theirs.lls", tmp_path / "movie.zarr"
    status, out, _ = invoke("model", "import", official / "model_0.pt", "--out", bundle, "--licence", "none stated")
    assert status == 0
    assert "theirs.lls: 16 filters, context time, pixel 100 x 100 nm (x, y), z -750 to 750 nm, emccd camera" in out
    status, out, _ = invoke("model", "info", bundle)
    assert status == 0
    record = yaml.safe_load(out)
    assert (record["psf"], record["licence"], record["name"]) == (None, "none stated", "theirs")

    zarr.create_array(str(movie), data=crop, chunks=(3, 48, 40), dimension_names=["t", "y", "x"])
    dry = ("run", movie, "--model", bundle, "--out", tmp_path / "out", "--dry-run")
    status, out, _ = invoke(*dry)
    assert status == 0
    assert "imported from DECODE; detections by rule 'model'" in out
    assert "--set detection.rule=authors" in out
    status, out, _ = invoke(*dry, "--set", "detection.raw_th=0.2", "--set", "detection.rule=authors")
    assert status == 0, "the order of --set options does not matter"
    assert "imported from DECODE; detections by rule 'authors'" in out
    status, _, err = invoke(*dry, "--set", "detection.rule=authors", "--set", "detection.accept=0.8")
    assert status == 2
    assert "unknown key 'detection.accept' here: 'accept' belongs to another kind of detection" in err


def test_an_unsuitable_model_is_refused_on_the_command_line(
    tmp_path: Path, invoke: Callable[..., tuple[int, str, str]]
) -> None:
    model, _ = write(tmp_path, {"a": torch.zeros(1)}, PARAMS)
    status, _, err = invoke("model", "import", model, "--out", tmp_path / "a.lls")
    assert status == 2
    assert err.startswith("Error: ")
    assert "weights of another network" in err
