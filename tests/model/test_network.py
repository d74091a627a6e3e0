"""Shapes, value ranges and receptive field of the network, and agreement with its plain definition."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from lls_decode.axes import ContextKind, NetworkVariant
from lls_decode.config import STRIDE, NetworkConfig
from lls_decode.model.network import (
    LOGIT_LIMIT,
    LocNet,
    OutputMaps,
    SparseMaps,
    pad_to_stride,
    shift_features,
)

SMALL = NetworkConfig(filters=4)


def network(config: NetworkConfig = SMALL, seed: int = 0) -> LocNet:
    torch.manual_seed(seed)
    return LocNet(config).eval().requires_grad_(False)


def frames(num: int = 6, height: int = 24, width: int = 32) -> Tensor:
    return torch.randn(num, height, width, generator=torch.Generator().manual_seed(1))


def windows(num: int = 6) -> Tensor:
    """Return the windows of one sequence, in which both ends repeat their frame."""
    this = torch.arange(num)
    return torch.stack([(this - 1).clamp_min(0), this, (this + 1).clamp_max(num - 1)], dim=1)


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        # The authors' code has 2 199 419, because it also counts a constant, the epsilon of sigma, as a parameter.
        pytest.param(NetworkConfig(filters=48, context="time"), 2_199_418, id="published"),
        pytest.param(NetworkConfig(filters=48, context="plane", shift_px=3), 2_199_418, id="context along planes"),
        pytest.param(NetworkConfig(filters=48, noise_map=True), 2_199_418 + 48 * 9, id="with a noise map"),
        # The first convolution of the second U-Net sees one frame instead of three.
        pytest.param(NetworkConfig(filters=48, context="none"), 2_199_418 - 2 * 48 * 48 * 9, id="without context"),
        # frames: 4 -> 64 -> 64 -> 64; context: 192 -> 64 -> 64, down, 64 -> 128 -> 128 -> 128, up, 128 -> 64 -> 64, 128
        pytest.param(
            NetworkConfig(variant="light", filters=64),
            sum(9 * i * o + o for i, o in [(4, 64), (64, 64), (64, 64), (192, 64), (64, 64)])
            + (4 * 64 * 64 + 64)
            + sum(9 * i * o + o for i, o in [(64, 128), (128, 128), (128, 128), (128, 64), (64, 64)])
            + (128 * 64 + 64)
            + (64 * 128 + 128)
            + sum(9 * 32 * 32 + 32 + 32 * o + o for o in (1, 4, 4, 1)),
            id="light",
        ),
    ],
)
def test_the_network_has_the_expected_number_of_weights(config: NetworkConfig, weights: int) -> None:
    assert sum(p.numel() for p in LocNet(config).parameters()) == weights


@pytest.mark.parametrize("context", ["none", "time", "plane"])
@pytest.mark.parametrize("filters", [4, 6])
@pytest.mark.parametrize("variant", ["published", "light"])
def test_features_and_outputs_have_the_expected_shapes_and_ranges(
    context: ContextKind, filters: int, variant: NetworkVariant
) -> None:
    shift = 2 if context == "plane" else 0
    net = network(NetworkConfig(variant=variant, filters=filters, context=context, shift_px=shift))
    features = net.encode(10 * frames())
    assert features.shape == ((6, filters, 12, 16) if variant == "light" else (6, filters, 24, 32))
    maps = net.decode(features, windows()[1:4])
    for name, value in maps._asdict().items():
        assert value.shape == (3, 24, 32), name
        assert value.dtype == torch.float32, name
        low, high = {"logit": (-torch.inf, torch.inf), "photons": (0, 1), "bg": (0, 1)}.get(name, (-1, 1))
        if name.endswith("_sig"):
            low, high = 0.001, 3.001
        assert ((value >= low) & (value <= high)).all(), name


def test_probability_is_limited() -> None:
    extreme = torch.tensor([-1e9, -LOGIT_LIMIT, 0.0, LOGIT_LIMIT, 1e9]).reshape(1, 1, 5)
    p = OutputMaps(extreme, *[torch.zeros_like(extreme)] * 9).probability.flatten()
    assert p[0] == p[1] == pytest.approx(3.3535e-4, rel=1e-4)
    assert p[4] == p[3] == pytest.approx(1 - 3.3535e-4)
    assert p[2] == 0.5


def test_a_network_without_z_gives_constant_z() -> None:
    maps = network(NetworkConfig(filters=4, predict_z=False)).decode(torch.randn(6, 4, 24, 32), windows())
    assert (maps.z == 0).all()
    assert (maps.z_sig == maps.z_sig[0, 0, 0]).all()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(NetworkConfig(filters=4, context="time"), id="time"),
        pytest.param(NetworkConfig(filters=4, context="plane", shift_px=3), id="planes to the right"),
        pytest.param(NetworkConfig(filters=4, context="plane", shift_px=-2, shift_axis="y"), id="planes upwards"),
        pytest.param(NetworkConfig(filters=4, context="none"), id="none"),
        pytest.param(NetworkConfig(variant="light", filters=4, context="time"), id="light"),
        pytest.param(NetworkConfig(variant="light", filters=4, context="plane", shift_px=4), id="light, planes"),
    ],
)
def test_features_encoded_once_are_shared_by_three_windows(config: NetworkConfig) -> None:
    """Shared features give the outputs of the published scheme, which encodes the three frames of every window anew.

    Computing in float64 separates a wrong frame or shift from rounding.
    """
    net, movie = network(config).double(), frames().double()
    shared = net.decode(net.encode(movie), windows())
    for i, window in enumerate(windows().tolist()):
        features = [net.encode(movie[[frame]]) for frame in window]
        if config.context == "none":
            features = features[1:2]
        elif config.shift_px:
            shift = config.shift_px // (2 if config.variant == "light" else 1)
            if window[0] != i:
                features[0] = shift_features(features[0], -shift, config.shift_axis)
            if window[2] != i:
                features[2] = shift_features(features[2], shift, config.shift_axis)
        hidden = net.context_net(torch.cat(features, dim=1))
        mean = net.heads["mean"](hidden)[0].float()
        torch.testing.assert_close(shared.logit[i], net.heads["probability"](hidden)[0, 0].float())
        torch.testing.assert_close(shared.photons[i], torch.sigmoid(mean[0]))
        for name, row in (("x", 1), ("y", 2), ("z", 3)):
            torch.testing.assert_close(getattr(shared, name)[i], torch.tanh(mean[row]))
        torch.testing.assert_close(shared.bg[i], torch.sigmoid(net.heads["background"](hidden)[0, 0].float()))


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("shift", [3, -2])
@pytest.mark.parametrize("variant", ["published", "light"])
def test_the_plane_shift_compensates_the_motion_between_planes(shift: int, axis: str, variant: NetworkVariant) -> None:
    """Planes that move by ``shift`` pixels give the outputs of planes at rest.

    Shifts are whole strides, so that features move exactly as images do; float64 makes rounding negligible.
    """
    shift *= STRIDE
    config = {"variant": variant, "filters": 4, "context": "plane", "shift_px": shift, "shift_axis": axis}
    moving = network(NetworkConfig.model_validate(config)).double()
    resting = network(NetworkConfig(variant=variant, filters=4, context="time")).double()
    scene = torch.zeros(160, 160, dtype=torch.float64)
    scene[76:84, 76:84] = torch.randn(8, 8, generator=torch.Generator().manual_seed(2)).double() * 20
    dim = 1 if axis == "x" else 0
    planes = torch.stack([scene.roll(-shift * k, dims=dim) for k in (-1, 0, 1)])
    window = torch.tensor([[0, 1, 2]])
    seen = moving.decode(moving.encode(planes), window).logit
    at_rest = resting.decode(resting.encode(scene.expand(3, -1, -1)), window).logit
    middle = (slice(None), slice(60, 100), slice(60, 100))
    assert at_rest[middle].std() > 0.1
    torch.testing.assert_close(seen[middle], at_rest[middle], atol=1e-4, rtol=1e-4)


FEATURES = torch.arange(12.0).reshape(1, 1, 3, 4)


@pytest.mark.parametrize(
    ("shift", "axis", "rows"),
    [
        pytest.param(1, "x", [[0, 0, 1, 2], [0, 4, 5, 6], [0, 8, 9, 10]], id="moves right"),
        pytest.param(-2, "x", [[2, 3, 0, 0], [6, 7, 0, 0], [10, 11, 0, 0]], id="moves left"),
        pytest.param(1, "y", [[0, 0, 0, 0], [0, 1, 2, 3], [4, 5, 6, 7]], id="moves down"),
        pytest.param(-1, "y", [[4, 5, 6, 7], [8, 9, 10, 11], [0, 0, 0, 0]], id="moves up"),
        pytest.param(0, "x", [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]], id="no shift"),
        pytest.param(4, "x", [[0] * 4] * 3, id="just out of the frame"),
        pytest.param(9, "x", [[0] * 4] * 3, id="far out of the frame"),
        pytest.param(-9, "y", [[0] * 4] * 3, id="far out of the frame, upwards"),
    ],
)
def test_shift_features_moves_features_and_pads_with_zeros(shift: int, axis: str, rows: list[list[int]]) -> None:
    assert shift_features(FEATURES, shift, "x" if axis == "x" else "y")[0, 0].tolist() == rows


@pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 12), (7, 14), (1, 3)])
def test_padding_keeps_the_image_and_adds_zeros(height: int, width: int) -> None:
    movie = frames(2, height, width)
    padded = pad_to_stride(movie)
    for side, was in zip(padded.shape[1:], (height, width), strict=True):
        assert side % STRIDE == 0
        assert 0 <= side - was < STRIDE
    assert torch.equal(padded[:, :height, :width], movie)
    assert (padded[:, height:] == 0).all()
    assert (padded[:, :, width:] == 0).all()


def reach_px(net: LocNet, y: int, x: int, side: int) -> tuple[int, int, int, int]:
    """Return how far up, down, left and right input pixels affect an output pixel, measured by exact gradients."""
    movie = frames(3, side, side).requires_grad_()
    maps = net.decode(net.encode(movie), torch.tensor([[0, 1, 2]]))
    sum(value[0, y, x] for value in maps).backward()
    assert movie.grad is not None
    rows, columns = movie.grad.abs().sum(dim=0).nonzero().T
    return tuple(int(v) for v in (y - rows.min(), rows.max() - y, x - columns.min(), columns.max() - x))


def test_receptive_radius_is_exact_for_every_phase_of_the_pixel() -> None:
    """The radius is 41 to 44 px, depending on the pixel's position modulo the stride."""
    net = network()
    backwards = {0: 42, 1: 43, 2: 44, 3: 41}
    for phase in range(STRIDE):
        other = (phase + 2) % STRIDE
        expected = (backwards[phase], backwards[3 - phase], backwards[other], backwards[3 - other])
        assert reach_px(net, 64 + phase, 64 + other, 132) == expected
    assert max(backwards.values()) == net.config.reach_px


def test_the_light_network_reaches_exactly_as_far_as_its_configuration_says() -> None:
    net = network(NetworkConfig(variant="light", filters=4))
    reaches = [reach_px(net, 64 + phase, 64 + phase, 132) for phase in range(STRIDE)]
    assert max(max(reach) for reach in reaches) == net.config.reach_px


@pytest.mark.parametrize("shift", [1, -3])
def test_the_light_network_refuses_plane_shifts_that_are_not_whole_features(shift: int) -> None:
    with pytest.raises(ValidationError, match=f"shift_px is {shift}, but features of the light network are 2 pixels"):
        NetworkConfig(variant="light", context="plane", shift_px=shift)


def test_equal_seeds_give_equal_networks() -> None:
    first, again, other = network(seed=3), network(seed=3), network(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.context_net.out_conv.weight, other.context_net.out_conv.weight)


def test_a_noise_map_is_the_second_channel_of_the_first_convolution() -> None:
    """The first layer is that of the plain network plus a convolution of the map; a map of zeros changes nothing."""
    plain, net = network().double(), network(NetworkConfig(filters=4, noise_map=True), seed=1).double()
    first = net.frame_net.encoder[0][0].weight
    kernel = first[:, 1:].clone()
    weights = {name: value for name, value in plain.state_dict().items() if value.shape == net.state_dict()[name].shape}
    net.load_state_dict(net.state_dict() | weights)
    first[:, :1] = plain.frame_net.encoder[0][0].weight
    movie = frames().double()
    noise = torch.rand(6, 24, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(net.encode(movie, torch.zeros_like(noise)), plain.encode(movie))
    seen: list[Tensor] = []
    net.frame_net.encoder[0][0].register_forward_hook(lambda *args: seen.append(args[-1].clone()))
    plain.frame_net.encoder[0][0].register_forward_hook(lambda *args: seen.append(args[-1].clone()))
    net.encode(movie, noise), plain.encode(movie)
    torch.testing.assert_close(seen[0] - seen[1], torch.nn.functional.conv2d(noise[:, None], kernel, padding=1))


def test_a_shared_noise_map_equals_a_copy_for_each_frame() -> None:
    net = network(NetworkConfig(filters=4, noise_map=True))
    noise = torch.rand(24, 32, generator=torch.Generator().manual_seed(2))
    assert torch.equal(net.encode(frames(), noise), net.encode(frames(), noise.repeat(6, 1, 1)))
    assert not torch.equal(net.encode(frames(), noise), net.encode(frames(), 0 * noise))


@pytest.mark.parametrize("noise_map", [True, False])
def test_missing_and_unexpected_noise_maps_are_refused(noise_map: bool) -> None:
    with pytest.raises(AssertionError, match="only then"):
        network(NetworkConfig(filters=4, noise_map=noise_map)).encode(frames(), None if noise_map else frames())


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(NetworkConfig(filters=4, context="time"), id="time"),
        pytest.param(NetworkConfig(filters=6, context="plane", shift_px=3), id="planes to the right"),
        pytest.param(NetworkConfig(filters=4, context="none", predict_z=False), id="none, without z"),
        pytest.param(NetworkConfig(variant="light", filters=4, context="time"), id="light"),
    ],
)
def test_heads_at_single_pixels_equal_the_dense_maps(config: NetworkConfig) -> None:
    """Values agree in float64 at every pixel, edges and corners included, and in reversed order of pixels."""
    net, movie = network(config).double(), frames().double()
    features = net.encode(movie)
    dense, sparse = net.decode(features, windows()), net.decode_sparsely(features, windows())
    pixels = torch.ones_like(dense.logit).nonzero().flip(0)
    torch.testing.assert_close(sparse.probability, dense.probability)
    for name, expected, found in zip(OutputMaps._fields, dense.at(pixels), sparse.at(pixels), strict=True):
        assert found.shape == (6 * 24 * 32,)
        torch.testing.assert_close(found, expected, msg=name)
    assert all(len(value) == 0 for value in sparse.at(pixels[:0]))
    cropped = sparse.crop(23, 30)
    assert cropped.probability.shape == (6, 23, 30)
    last = torch.tensor([[5, 22, 29]])
    torch.testing.assert_close(cropped.at(last).photons, dense.photons[5, 22, 29].reshape(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_heads_are_exact_for_16_bit_features(dtype: torch.dtype) -> None:
    """Heads compute in float32; computing them in 16 bits would give a thousand times the error."""
    net = network()
    hidden = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3)).to(dtype)
    pixels = torch.ones(2, 8, 8).nonzero()
    with torch.autocast("cpu", dtype=dtype):
        sparse = SparseMaps(net, hidden, net._logit(hidden))
        found = sparse.at(pixels)
    expected = SparseMaps(net, hidden.float(), net._logit(hidden.float())).at(pixels)
    assert sparse.logit.dtype == torch.float32
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_features_and_hidden_maps_stay_channels_last() -> None:
    """This layout is fast on CPUs and GPUs and lets pixels be gathered without a copy."""
    net = network().to(memory_format=torch.channels_last)
    features = net.encode(frames())
    hidden = net.decode_sparsely(features, windows()).hidden_NDYX
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert hidden.is_contiguous(memory_format=torch.channels_last)
