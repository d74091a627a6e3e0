"""Results do not depend on batches, tiles and blocks: they equal those of frames processed one by one.

`far_sighted` is a network whose output at a pixel is a sum of the farthest inputs in its receptive field, in all four
diagonal directions and all three frames. Its numbers are integers, so that float32 is exact, tables must be equal to
the bit and a halo that is too small shows at once. A network with random weights depends on all inputs; with it,
pixels within rounding of a threshold are left out of the comparison.

Shape letters: ``V K`` volumes and planes, ``T`` frames, ``Y X`` pixels.
"""

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lls_decode.axes import ContextKind, Layout, ScanAxis
from lls_decode.blocks import plan_blocks
from lls_decode.config import (
    RECEPTIVE_RADIUS_PX,
    CompilationTarget,
    ComputeConfig,
    EmccdCamera,
    GaussianPsf,
    Geometry,
    NetworkConfig,
    PaperRule,
    PixelSize,
    Roi,
    RunConfig,
    Scaling,
    ScmosCamera,
)
from lls_decode.errors import BundleError, ConfigError, FrameValueError
from lls_decode.frames import FrameStack
from lls_decode.localize import Localizer, build_localizer
from lls_decode.localize.detect import Detections, candidate_maps
from lls_decode.model.bundle import ModelBundle, save_bundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet, OutputMaps, SparseMaps, UNet, pad_to_stride
from lls_decode.optics import CameraModel
from tests.cameras import scmos_model

PIXEL = PixelSize(x_nm=100.0, y_nm=110.0)
STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
HEIGHT, WIDTH = 118, 110
LAYOUT = Layout(3, 3, HEIGHT, WIDTH)
DIRECTIONS = list(itertools.product((-1, 1), (-1, 1)))
"""Directions (down, right) of the inputs of channels 0 to 3."""


def record(config: NetworkConfig, **scaling: float) -> BundleInfo:
    usual = {"input_scale": 1.0, "input_offset": 0.0, "photons": 5000.0, "z_nm": 600.0, "bg": 30.0}
    return BundleInfo(
        name="test",
        network=config,
        scaling=Scaling(**(usual | scaling)),
        pixel_size=PIXEL,
        camera=ScmosCamera(offset_adu=0.0, gain_adu_per_e=1.0, variance_adu2=1.0),
        psf=GaussianPsf(sigma_nm=130.0),
        z_range_nm=(-500.0, 500.0),
        photons_range=(1000.0, 3000.0),
        bg_range=(8.0, 22.0),
    )


def far_sighted(config: NetworkConfig) -> ModelBundle:
    """Return a network that copies integers, each convolution taking its farthest pixel."""
    network = LocNet(config).requires_grad_(False).eval()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    f = config.filters
    blind = config.context == "none"

    def look(conv: nn.Module, sources: dict[int, float]) -> None:
        """Make channel c the weighted sum of the channels ``c + start`` at the tap in the direction of c."""
        weight = conv.weight
        assert isinstance(weight, Tensor)
        for c, (down, right) in enumerate(DIRECTIONS):
            size = weight.shape[-1]
            row, column = ((size - 1) // 2 + down * (size // 2) * (size % 2) for down in (down, right))
            if size == 2:
                row, column = (down + 1) // 2, (right + 1) // 2
            for start, factor in sources.items():
                # input frames and their noise map have no channels for the directions
                weight[c, slice(None) if weight.shape[1] <= 2 else c + start, row, column] = factor

    def look_through(unet: UNet, sources: dict[int, float]) -> None:
        look(unet.encoder[0][0], sources)
        for conv in (unet.encoder[0][2], unet.encoder[1][0], unet.encoder[1][2], unet.base[0], unet.base[2]):
            look(conv, {0: 1.0})
        for conv in (*unet.poolers, *unet.upsamplers, unet.decoder[0][2], unet.decoder[1][2], unet.out_conv):
            look(conv, {0: 1.0})
        look(unet.decoder[0][0], {2 * f: 1.0})  # from the level below, not from the skip connection
        look(unet.decoder[1][0], {f: 1.0})

    look_through(network.frame_net, {0: 1.0})
    look_through(network.context_net, {0: 1.0} if blind else {0: 1.0, f: 2.0, 2 * f: 4.0})
    for head in network.heads.values():
        look(head.core[0], {0: 1.0})
    network.heads["probability"].out_conv.weight[0, :4, 0, 0] = 1.0
    nn.init.constant_(network.heads["probability"].out_conv.bias, -2.5 if blind else -5.5)
    for row in range(4):
        network.heads["mean"].out_conv.weight[row, :4, 0, 0] = 0.01 * torch.tensor([1.0, -2.0, 3.0, -4.0]).roll(row)
    return ModelBundle(network, record(config))


def random_network(config: NetworkConfig) -> ModelBundle:
    """Return a network with random weights; log-odds of mean -3 and spread 2 make all cases of the rule occur."""
    torch.manual_seed(5)
    units = {"input_offset": 3.0, "input_scale": 2.0, "noise_offset": 0.25, "noise_scale": 1.0}
    bundle = ModelBundle(LocNet(config).requires_grad_(False).eval(), record(config, **units))
    features = encode_whole(bundle, MOVIE[0, :1])
    logit = bundle.network.decode(features, torch.tensor([[0, 0, 0]])).logit
    last = bundle.network.heads["probability"].out_conv
    last.bias.copy_((last.bias - logit.mean()) * 2 / logit.std() - 3)
    last.weight.mul_(2 / logit.std())
    return bundle


def encode_whole(bundle: ModelBundle, adu_TYX: npt.NDArray[np.uint16]) -> Tensor:
    """Return features of whole frames, computed by the definition of the network's units."""
    scaling, noise = bundle.info.scaling, None
    photons = camera().to_photons(torch.from_numpy(adu_TYX))
    if bundle.info.network.noise_map:
        noise = pad_to_stride((camera().values["variance_adu2"].sqrt() - scaling.noise_offset) / scaling.noise_scale)
    return bundle.network.encode(pad_to_stride((photons - scaling.input_offset) / scaling.input_scale), noise)


def camera() -> CameraModel:
    """Return a camera with varying offset and read noise, which reveal a tile that uses the wrong part of a map."""
    random = torch.Generator().manual_seed(1)
    offset = torch.randint(100, 110, (HEIGHT, WIDTH), generator=random).float()
    noise = (torch.rand((HEIGHT, WIDTH), generator=random) < 0.02).float()
    return scmos_model(offset, 1.0, noise**2)


def make_movie() -> npt.NDArray[np.uint16]:
    """Return counts (V, K, Y, X) with few bright pixels, some of them at the edges."""
    random = np.random.default_rng(2)
    shape = (LAYOUT.num_volumes, LAYOUT.planes_per_volume, HEIGHT, WIDTH)
    photons = np.where(random.random(shape) < 0.04, random.integers(1, 4, shape), 0)
    return (photons + camera().values["offset_adu"].numpy()).astype(np.uint16)


MOVIE = make_movie()


def localizer(bundle: ModelBundle, **compute: Any) -> Localizer:
    return Localizer(
        bundle=bundle,
        camera=camera(),
        pixel=PIXEL,
        geometry=STAGE,
        rule=PaperRule(),
        compute=ComputeConfig(device="cpu", **({"dtype": "float32", "batch_px": 2 * HEIGHT * WIDTH} | compute)),
        device=torch.device("cpu"),
    )


Key = tuple[int, int, int]
"""Key of a detection: frame, row and column."""
VALUES = ("prob", "near", "crowd", "photons", "x", "y", "z", "photons_sig", "x_sig", "y_sig", "z_sig", "bg")
Found = dict[Key, list[float]]


def stacks(context: ContextKind, block_frames: int) -> list[FrameStack]:
    blocks = plan_blocks(LAYOUT, context, block_frames)
    return [FrameStack(MOVIE[block.frames[:, 0], block.frames[:, 1]], block) for block in blocks]


def find_all(bundle: ModelBundle, block_frames: int = 100, **compute: Any) -> Found:
    """Return the detections of the whole movie, processed in blocks and batches as given."""
    engine, found = localizer(bundle, **compute), {}
    for stack in stacks(bundle.info.network.context, block_frames):
        found |= keyed(engine.find(stack.adu_TYX, stack.block.windows), stack)
    return found


def keyed(detections: Detections, stack: FrameStack) -> Found:
    volume, plane = stack.block.frames[stack.block.windows[:, 1]][detections.window].T
    keys = zip(volume * LAYOUT.planes_per_volume + plane, detections.y_px, detections.x_px, strict=True)
    values = np.stack([getattr(detections, name) for name in VALUES], axis=1)
    found = {(int(f), int(y), int(x)): row for (f, y, x), row in zip(keys, values.tolist(), strict=True)}
    assert len(found) == len(detections), "no pixel is detected twice"
    return found


@cache
def found_whole(config: NetworkConfig) -> Found:
    """Return the detections of the whole movie in a single batch."""
    return find_all(far_sighted(config), batch_px=10**9)


def find_one_by_one(bundle: ModelBundle, rounding: float = 0.0) -> tuple[Found, set[Key]]:
    """Return the expected detections, with each frame and its two neighbours processed separately as a whole.

    The second result are pixels nearer than ``rounding`` to a threshold or to an equal neighbour.
    """
    config, rule = bundle.info.network, PaperRule()
    V, K = LAYOUT.num_volumes, LAYOUT.planes_per_volume
    found: Found = {}
    doubtful: set[Key] = set()
    for v, k in itertools.product(range(V), range(K)):
        before, after = {
            "none": ((v, k), (v, k)),
            "time": ((max(v - 1, 0), k), (min(v + 1, V - 1), k)),
            "plane": ((v, max(k - 1, 0)), (v, min(k + 1, K - 1))),
        }[config.context]
        order = sorted({before, (v, k), after})
        features = encode_whole(bundle, np.stack([MOVIE[place] for place in order]))
        window = torch.tensor([[order.index(before), order.index((v, k)), order.index(after)]])
        maps = OutputMaps(*(m[:, :HEIGHT, :WIDTH] for m in bundle.network.decode(features, window)))
        p = maps.probability
        mask, integrated = candidate_maps(p, rule)
        summed = [integrated, *(others_around(p, radius) for radius in (2, 4))]
        columns = torch.stack([*summed, *(getattr(maps, name) for name in VALUES[3:])], dim=-1)
        frame = v * K + k
        found |= {(frame, y, x): columns[0, y, x].tolist() for _, y, x in mask.nonzero().tolist()}
        near = torch.zeros_like(mask)
        for value, level in ((p, rule.candidate), (p, rule.confident), (integrated, rule.accept)):
            near |= (value - level).abs() < rounding
        for dim in (1, 2):
            near |= ((p - p.roll(1, dim)).abs() < rounding) & (p > rule.candidate - rounding)
            near |= ((p - p.roll(-1, dim)).abs() < rounding) & (p > rule.candidate - rounding)
        doubtful |= {(frame, y, x) for _, y, x in near.nonzero().tolist()}
    return found, doubtful


def others_around(p: Tensor, radius: int) -> Tensor:
    """Return the sum of probability in the square around each pixel, without the pixel and its four neighbours."""
    kernel = torch.ones(1, 1, 2 * radius + 1, 2 * radius + 1, dtype=torch.float64)
    kernel[0, 0, radius - 1 : radius + 2, radius] = 0
    kernel[0, 0, radius, radius - 1 : radius + 2] = 0
    return nn.functional.conv2d(p[:, None].double(), kernel, padding=radius)[:, 0].float()


def check_equal(found: Found, expected: Found, *, rtol: float = 1e-6, atol: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    values, wanted = (np.array([each[key] for key in sorted(expected)]) for each in (found, expected))
    np.testing.assert_allclose(values, wanted, rtol=rtol, atol=atol)


def network_config(context: ContextKind, shift_px: int = 0, axis: ScanAxis = "x") -> NetworkConfig:
    return NetworkConfig(filters=4, context=context, shift_px=shift_px, shift_axis=axis)


NETWORKS = [
    pytest.param(network_config("time"), id="context along time"),
    pytest.param(network_config("plane", 3), id="along planes, shifted by 3"),
    pytest.param(network_config("plane", -2, "y"), id="along planes, shifted upwards by 2"),
    pytest.param(network_config("none"), id="no context"),
    pytest.param(network_config("plane", 3).replace(noise_map=True), id="along planes, with a noise map"),
]
CUTS = [
    pytest.param({"batch_px": 1}, 100, id="one frame per batch"),
    pytest.param({"batch_px": 4 * HEIGHT * WIDTH}, 100, id="four frames per batch"),
    pytest.param({}, 1, id="blocks of one frame"),
    pytest.param({}, 2, id="blocks that split a volume"),
    pytest.param({}, 4, id="blocks of one volume"),
    pytest.param({"tile_px": 56}, 100, id="tiles of 56"),
    pytest.param({"tile_px": 37}, 2, id="tiles of 37 (40), blocks of two"),
    pytest.param({"tile_px": 92, "batch_px": 1}, 5, id="tiles of 92, one frame per batch"),
]


@pytest.mark.parametrize("config", NETWORKS)
def test_detections_equal_those_of_frames_processed_one_by_one(config: NetworkConfig) -> None:
    bundle = far_sighted(config)
    expected, _ = find_one_by_one(bundle)
    assert 300 < len(expected) < 100_000
    check_equal(found_whole(config), expected)


@pytest.mark.parametrize("config", NETWORKS)
@pytest.mark.parametrize(("compute", "block_frames"), CUTS)
def test_detections_do_not_depend_on_batches_blocks_and_tiles(
    config: NetworkConfig, compute: dict[str, int], block_frames: int
) -> None:
    check_equal(find_all(far_sighted(config), block_frames, **compute), found_whole(config))


LIGHT = [
    pytest.param(NetworkConfig(variant="light", filters=4, context="time"), id="light, along time"),
    pytest.param(NetworkConfig(variant="light", filters=4, context="plane", shift_px=4), id="light, planes shifted"),
]


@pytest.mark.parametrize("config", [*NETWORKS, *LIGHT])
def test_detections_of_random_weights_do_not_depend_on_batches_blocks_and_tiles(config: NetworkConfig) -> None:
    """Random weights also depend on padding, which must be zeros beyond the true edges and nowhere else."""
    bundle = random_network(config)
    expected, doubtful = find_one_by_one(bundle, rounding=1e-3)
    assert len(expected) > 300
    assert len(expected.keys() & doubtful) < 0.1 * len(expected)
    certain = {key: row for key, row in expected.items() if key not in doubtful}
    for block_frames, tile_px, batch_px in ((100, 0, 10**9), (2, 56, 1), (4, 37, 10**5)):
        found = find_all(bundle, block_frames, tile_px=tile_px, batch_px=batch_px)
        check_equal({key: row for key, row in found.items() if key not in doubtful}, certain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("radius_px", "exact"),
    [
        pytest.param(RECEPTIVE_RADIUS_PX["published"], True, id="true radius: a halo of 48 px"),
        pytest.param(42, True, id="44 px: enough, as tiles start where the network reaches 42 px back"),
        pytest.param(38, False, id="40 px: one stride too small"),
        pytest.param(0, False, id="4 px"),
    ],
)
def test_a_halo_that_is_too_small_changes_detections(
    monkeypatch: pytest.MonkeyPatch, radius_px: int, exact: bool
) -> None:
    bundle = far_sighted(network_config("time"))
    whole = find_all(bundle)
    monkeypatch.setattr(NetworkConfig, "reach_px", radius_px)
    assert (find_all(bundle, tile_px=56) == whole) is exact


@pytest.mark.parametrize("shift", [1, 2, 3, 5, -1, -6])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_the_halo_covers_the_plane_shift(shift: int, axis: ScanAxis) -> None:
    config = network_config("plane", shift, axis)
    check_equal(find_all(far_sighted(config), tile_px=56), found_whole(config))


@pytest.mark.parametrize("config", NETWORKS)
@pytest.mark.parametrize("tile_px", [0, 20])
@pytest.mark.parametrize(
    "roi",
    [
        pytest.param(Roi(x=(50, 60), y=(53, 66)), id="inside, at odd positions"),
        pytest.param(Roi(x=(0, 7), y=(0, 118)), id="a strip along an edge"),
        pytest.param(Roi(x=(97, 110), y=(101, 118)), id="the last corner"),
        pytest.param(Roi(x=(55, 56), y=(58, 59)), id="one pixel"),
    ],
)
def test_a_region_of_interest_has_the_detections_of_the_whole_frame(
    config: NetworkConfig, roi: Roi, tile_px: int
) -> None:
    bundle = far_sighted(config)
    part = bundle.info.tile_of(roi, LAYOUT)
    assert part is not None
    engine = localizer(bundle, tile_px=tile_px)
    engine = replace(engine, part=part, camera=engine.camera.crop(part.read_y, part.read_x))
    whole = found_whole(config)
    inside = {key: row for key, row in whole.items() if key[1] in range(*roi.y) and key[2] in range(*roi.x)}
    found = {}
    for stack in stacks(config.context, 4):
        detections = engine.find_in_part(stack.adu_TYX[:, part.read_y, part.read_x], stack.block.windows)
        found |= keyed(detections, stack)
    check_equal(found, inside)


@pytest.mark.parametrize("config", NETWORKS)
def test_every_frame_is_encoded_once(config: NetworkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = far_sighted(config)
    encode, batches = bundle.network.encode, []

    def count(frames: Tensor, noise: Tensor | None) -> Tensor:
        batches.append(len(frames))
        return encode(frames, noise)

    monkeypatch.setattr(bundle.network, "encode", count)
    for per_batch in (1, 2, 5, 100):
        for stack in stacks(config.context, 4):
            batches.clear()
            localizer(bundle, batch_px=per_batch * HEIGHT * WIDTH).find(stack.adu_TYX, stack.block.windows)
            assert sum(batches) == stack.block.num_read
            assert max(batches) <= per_batch


@pytest.mark.parametrize("per_batch", [1, 2, 3, 4, 6])
def test_frames_that_no_window_uses_are_accepted(per_batch: int) -> None:
    """Unused frames occur in sequences at the start of an acquisition, and may lie anywhere in a batch."""
    bundle = far_sighted(network_config("time"))
    frames = MOVIE.reshape(-1, HEIGHT, WIDTH)[:9]
    windows = np.array([[1, 1, 2], [1, 2, 3], [4, 4, 5], [7, 7, 8]])
    together = localizer(bundle, batch_px=per_batch * HEIGHT * WIDTH).find(frames, windows)
    for number, window in enumerate(windows):
        alone = localizer(bundle).find(frames[window], np.array([[0, 1, 2]]))
        rows = together.select(together.window == number)
        assert len(rows) == len(alone) > 30
        for name in ("x_px", "y_px", *VALUES):
            np.testing.assert_array_equal(getattr(rows, name), getattr(alone, name))


def test_memory_is_bounded_by_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most the features of one batch and of windows that wait for a neighbour are held."""
    bundle = far_sighted(network_config("time"))
    decode, held = bundle.network.decode_sparsely, []

    def watch(features: Tensor, windows: Tensor) -> SparseMaps:
        held.append((len(features), len(windows)))
        return decode(features, windows)

    monkeypatch.setattr(bundle.network, "decode_sparsely", watch)
    for stack in stacks("time", 100):
        localizer(bundle, batch_px=2 * HEIGHT * WIDTH).find(stack.adu_TYX, stack.block.windows)
    assert max(features for features, _ in held) <= 2 + 2
    assert max(windows for _, windows in held) <= 2


@pytest.mark.parametrize("method", ["encode", "decode_sparsely"])
def test_batches_that_do_not_fit_into_memory_are_halved(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost or repeated, and later blocks start with the size that fits."""
    config = network_config("plane", 3)
    bundle = far_sighted(config)
    real, sizes = getattr(bundle.network, method), []

    def work(*inputs: Any) -> Any:
        sizes.append(len(inputs[0 if method == "encode" else 1]))
        if sizes[-1] > 1:
            torch.empty(1 << 60, dtype=torch.uint8)  # the allocator's own error
        return real(*inputs)

    monkeypatch.setattr(bundle.network, method, work)
    check_equal(find_all(bundle, 3, batch_px=3 * HEIGHT * WIDTH), found_whole(config))
    assert sizes == [3] + 9 * [1]


def test_counts_beyond_the_range_of_float16_are_an_error() -> None:
    """They would become NaN, and emitters around them would be lost silently."""
    engine = localizer(far_sighted(network_config("time")), dtype="float16")
    stack = stacks("time", 100)[0]
    dark = np.full_like(stack.adu_TYX, 105)
    engine.find(dark, stack.block.windows)
    dark[1, 50, 50] = 65535
    dark[1, 50, 52] = 65535
    with pytest.raises(FrameValueError, match=r"set compute\.dtype to bfloat16"):
        engine.find(dark, stack.block.windows)


def test_nan_outputs_are_an_error() -> None:
    """A diverged network would find nothing, which would look like an empty sample."""
    bundle = far_sighted(network_config("time"))
    engine = localizer(bundle, dtype="float32")
    stack = stacks("time", 100)[0]
    engine.find(stack.adu_TYX, stack.block.windows)
    with torch.no_grad():
        next(iter(bundle.network.parameters())).fill_(float("nan"))
    with pytest.raises(FrameValueError, match="NaN or infinite values for these frames"):
        engine.find(stack.adu_TYX, stack.block.windows)


@settings(max_examples=25, deadline=None)
@given(
    config=st.sampled_from([parameter.values[0] for parameter in NETWORKS]),
    height=st.integers(20, HEIGHT),
    width=st.integers(20, WIDTH),
    block_frames=st.integers(1, 10),
    tile_px=st.sampled_from([0, 24, 50, 64, 101]),
    per_batch=st.integers(1, 4),
)
def test_tables_of_frames_of_any_size_do_not_depend_on_how_they_are_split(
    config: NetworkConfig, height: int, width: int, block_frames: int, tile_px: int, per_batch: int
) -> None:
    layout = Layout(LAYOUT.num_volumes, LAYOUT.planes_per_volume, height, width)
    tables = []
    for frames, compute in (
        (100, {"batch_px": 10**9}),
        (block_frames, {"tile_px": tile_px, "batch_px": per_batch * height * width}),
    ):
        cut = replace(localizer(far_sighted(config), **compute), camera=camera().crop(slice(height), slice(width)))
        movie = MOVIE[:, :, :height, :width]
        blocks = plan_blocks(layout, config.context, frames)
        parts = [cut.run(FrameStack(movie[b.frames[:, 0], b.frames[:, 1]], b)) for b in blocks]
        order = [(name, "ascending") for name in ("frame", "y_nm", "x_nm")]
        tables.append(pa.concat_tables(parts).sort_by(order).to_pandas())
    pd.testing.assert_frame_equal(*tables, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int32", "uint64", "float32", "float64"])
def test_counts_of_every_dtype_give_the_same_detections(dtype: str) -> None:
    engine = localizer(far_sighted(network_config("time")), tile_px=56)
    stack = stacks("time", 100)[0]
    found, expected = (engine.find(stack.adu_TYX.astype(d), stack.block.windows) for d in (dtype, "uint16"))
    assert len(expected) > 300
    for name in ("window", "y_px", "x_px", "photons"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_read_only_views_of_frames_are_accepted() -> None:
    """Frames from a memory map are read-only and need not be contiguous."""
    engine = localizer(far_sighted(network_config("time")))
    stack = stacks("time", 100)[0]
    odd = np.repeat(stack.adu_TYX, 2, axis=2)[:, :, ::2]
    odd.flags.writeable = False
    assert len(engine.find(odd, stack.block.windows)) == len(engine.find(stack.adu_TYX, stack.block.windows))


def test_dark_frames_give_an_empty_table() -> None:
    engine = localizer(far_sighted(network_config("time")), tile_px=56)
    stack = stacks("time", 100)[0]
    dark = np.zeros_like(stack.adu_TYX)
    table = engine.run(replace(stack, adu_TYX=dark))
    assert table.num_rows == 0


def test_the_table_of_a_block_has_its_detections() -> None:
    engine = localizer(far_sighted(network_config("plane", 3)))
    stack = stacks("plane", 5)[1]
    table = engine.run(stack)
    assert table.num_rows == len(engine.find(stack.adu_TYX, stack.block.windows))
    assert set(table["volume"].to_pylist()) == {stack.block.volume_start}
    assert "xs_nm" in table.column_names
    assert (table["x_nm"].to_numpy() <= WIDTH * PIXEL.x_nm).all()


def save(path: Path, config: NetworkConfig | None = None) -> Path:
    bundle = far_sighted(config or network_config("time"))
    save_bundle(path, bundle.network, bundle.info)
    return path


def test_build_localizer_assembles_the_expected_parts(tmp_path: Path) -> None:
    """Detections equal those of a localizer put together by hand; camera maps come from files."""
    np.save(tmp_path / "offset.npy", camera().values["offset_adu"].numpy())
    chip = ScmosCamera(offset_adu=str(tmp_path / "offset.npy"), gain_adu_per_e=1.0, variance_adu2=1.0)
    config = RunConfig(
        camera=chip, pixel_size=PIXEL, geometry=STAGE, compute=ComputeConfig(device="cpu", tile_px=56, threads=1)
    )
    built = build_localizer(save(tmp_path / "far.lls"), config, LAYOUT)
    stack = stacks("time", 100)[0]
    table, expected = built.run(stack), localizer(far_sighted(network_config("time")), tile_px=56).run(stack)
    assert table.num_rows == expected.num_rows > 300
    for name in expected.column_names:
        np.testing.assert_allclose(table[name].to_numpy(), expected[name].to_numpy(), rtol=1e-6, atol=1e-3)
    assert torch.get_num_threads() == 1


DECISIONS: dict[str, tuple[bool | str, bool | None, str, bool]] = {
    "the run decides": ("auto", True, "absent", True),
    "the run decides against": ("auto", False, "cached", False),
    "a worker that cannot compile": ("auto", True, "impossible", False),
    "no run, little work": ("auto", None, "cached", False),
    "the configuration decides": (True, False, "impossible", True),
    "the configuration decides against": (False, True, "cached", False),
}


@pytest.mark.parametrize(("wish", "compiles", "code", "expected"), DECISIONS.values(), ids=DECISIONS)
def test_the_network_is_compiled_as_decided(
    wish: bool | str,
    compiles: bool | None,
    code: str,
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[bool] = []
    monkeypatch.setattr("lls_decode.localize.build.find_compiled_code", lambda *_: code)
    monkeypatch.setattr(
        "lls_decode.localize.build.compile_network", lambda _, *, required, record: compiled.append(required)
    )
    config = RunConfig(
        camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=1.0, variance_adu2=1.0),
        pixel_size=PIXEL,
        geometry=STAGE,
        compute=ComputeConfig(device="cpu", compile=wish, threads=1),
    )
    build_localizer(save(tmp_path / "far.lls"), config, LAYOUT, compiles=compiles)
    assert compiled == ([wish is True] if expected else [])


def test_the_record_of_compiled_code_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path is a digest of the network, the machine and the versions."""
    asked: list[str] = []

    def find_record(target: CompilationTarget, dtype: str, device: torch.device) -> Path:
        asked.append(dtype)
        return tmp_path / "record"

    monkeypatch.setattr("lls_decode.localize.build.find_record", find_record)
    monkeypatch.setattr("lls_decode.localize.build.compile_network", lambda _, *, required, record: None)
    compute = ComputeConfig(device="cpu", dtype="float32", compile=True, threads=1)
    config = RunConfig(
        camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=1.0, variance_adu2=1.0),
        pixel_size=PIXEL,
        geometry=STAGE,
        compute=compute,
    )
    build_localizer(save(tmp_path / "far.lls"), config, LAYOUT)
    assert asked == ["float32"]


def test_the_noise_map_of_a_run_comes_from_its_camera(tmp_path: Path) -> None:
    """The noise map, in photons, comes from a file with one value per pixel, or from one number for all pixels."""
    config = network_config("time").replace(noise_map=True)
    np.save(tmp_path / "variance.npy", camera().values["variance_adu2"].numpy() * 4.0)
    np.save(tmp_path / "offset.npy", camera().values["offset_adu"].numpy())
    path, stack = save(tmp_path / "far.lls", config), stacks("time", 100)[0]
    offset_YX = camera().values["offset_adu"].numpy()
    doubled = replace(stack, adu_TYX=(stack.adu_TYX - offset_YX) * 2 + offset_YX)
    run = RunConfig(pixel_size=PIXEL, geometry=STAGE, compute=ComputeConfig(device="cpu", tile_px=56, threads=1))
    chip = ScmosCamera(offset_adu=str(tmp_path / "offset.npy"), gain_adu_per_e=2.0, variance_adu2=0.0)
    silent = build_localizer(path, run.replace(camera=chip), LAYOUT).run(doubled)
    loud = build_localizer(
        path, run.replace(camera=chip.replace(variance_adu2=str(tmp_path / "variance.npy"))), LAYOUT
    ).run(doubled)
    expected = localizer(far_sighted(config)).run(stack)
    assert expected.num_rows > silent.num_rows
    np.testing.assert_allclose(loud["photons"].to_numpy(), expected["photons"].to_numpy(), rtol=1e-6)
    plain = localizer(far_sighted(network_config("time"))).run(stack)
    np.testing.assert_allclose(silent["photons"].to_numpy(), plain["photons"].to_numpy(), rtol=1e-6)


def test_an_emccd_has_no_noise_map(tmp_path: Path) -> None:
    chip = EmccdCamera(baseline_adu=100.0, e_per_adu=45.0, em_gain=300.0, read_sigma_e=74.4)
    path = save(tmp_path / "far.lls", network_config("time").replace(noise_map=True))
    with pytest.raises(ConfigError, match="cameras of kind emccd do not have"):
        build_localizer(path, RunConfig(camera=chip, pixel_size=PIXEL), LAYOUT)


def test_a_camera_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "offset.npy", np.zeros((WIDTH, HEIGHT)))
    chip = ScmosCamera(offset_adu=str(tmp_path / "offset.npy"), gain_adu_per_e=1.0, variance_adu2=1.0)
    with pytest.raises(ConfigError, match=r"shape \(110, 118\), but frames have \(118, 110\)"):
        build_localizer(save(tmp_path / "far.lls"), RunConfig(camera=chip, pixel_size=PIXEL), LAYOUT)


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    chip = ScmosCamera(offset_adu=0.0, gain_adu_per_e=1.0, variance_adu2=1.0)
    with pytest.raises(BundleError, match="cannot be read"):
        build_localizer(tmp_path / "absent.lls", RunConfig(camera=chip, pixel_size=PIXEL), LAYOUT)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_refused(tmp_path: Path) -> None:
    chip = ScmosCamera(offset_adu=0.0, gain_adu_per_e=1.0, variance_adu2=1.0)
    config = RunConfig(camera=chip, pixel_size=PIXEL, compute=ComputeConfig(device="cuda"))
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        build_localizer(save(tmp_path / "far.lls"), config, LAYOUT)


@pytest.mark.gpu
@pytest.mark.parametrize("config", NETWORKS)
def test_a_gpu_finds_the_same(config: NetworkConfig) -> None:
    bundle = far_sighted(config)
    expected = found_whole(config)
    there = localizer(replace(bundle, network=bundle.network.to("cuda")), tile_px=56)
    there = replace(there, device=torch.device("cuda"), camera=camera().to(torch.device("cuda")))
    stack = stacks(config.context, 100)[0]
    found = there.find(stack.adu_TYX, stack.block.windows)
    assert len(found) == len(expected)
