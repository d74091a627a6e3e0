"""The optimized network graph gives the outputs of the plain network for all sizes, shifts and edges."""

from pathlib import Path

import pytest
import torch

from lls_decode.config import NetworkConfig
from lls_decode.model.bundle import load_bundle
from lls_decode.model.fast import use_fast_graph
from lls_decode.model.network import LocNet
from lls_decode.models import find_bundle

LIGHT = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy" / "light.lls"
NETWORKS = {
    "along time": {"context": "time"},
    "single frames": {"context": "none"},
    "planes": {"context": "plane", "shift_px": 6},
    "planes, to the left": {"context": "plane", "shift_px": -6},
    "planes, by two pixels": {"context": "plane", "shift_px": 2},
    "planes, along y": {"context": "plane", "shift_px": 4, "shift_axis": "y"},
    "planes, up": {"context": "plane", "shift_px": -2, "shift_axis": "y"},
    "planes, by a frame's width": {"context": "plane", "shift_px": 20},
    "planes, by nearly a frame's width": {"context": "plane", "shift_px": -18},
    "planes, by more than a frame": {"context": "plane", "shift_px": 40, "shift_axis": "y"},
    "noise map": {"context": "time", "noise_map": True},
}
SIZES = ((4, 24, 20), (1, 24, 20), (3, 4, 4), (2, 44, 12))
"""Numbers of frames, rows and columns."""


def make_network(variant: str, **changes: object) -> LocNet:
    torch.manual_seed(5)
    network = LocNet(NetworkConfig.model_validate({"filters": 8, "variant": variant, **changes})).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.normal_(std=0.3)  # a nonzero bias reveals zeros that are padded before instead of after it
    return network.to(memory_format=torch.channels_last)


def windows_of(frames: int) -> torch.Tensor:
    """Return windows of consecutive frames with repeated ends; the last window occurs three times."""
    this = torch.arange(frames)
    usual = torch.stack([(this - 1).clamp_min(0), this, (this + 1).clamp_max(frames - 1)], dim=1)
    return torch.cat([usual, usual[-1:], usual.flip(0)[:1]])


@torch.inference_mode()
def outputs(network: LocNet, size: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(size))
    frames = torch.randn(size, generator=generator)
    noise = torch.rand(size[1:], generator=generator) if network.config.noise_map else None
    features = network.encode(frames, noise)
    return features, torch.stack(list(network.decode(features, windows_of(size[0]))))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", ["published", "light"])
@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS.keys())
def test_the_fast_graph_gives_the_outputs_of_the_plain_network(
    changes: dict[str, object], variant: str, size: tuple[int, int, int]
) -> None:
    plain, fast = make_network(variant, **changes), make_network(variant, **changes)
    use_fast_graph(fast, torch.float32)
    for expected, found in zip(outputs(plain, size), outputs(fast, size), strict=True):
        assert expected.std() > 0.05
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("model", ["lls-paint", "lls-paint-48", str(LIGHT)])
def test_the_fast_graph_gives_the_outputs_of_shipped_models(model: str) -> None:
    plain, fast = (load_bundle(find_bundle(model)).network for _ in range(2))
    use_fast_graph(fast, torch.float32)
    for expected, found in zip(outputs(plain, (3, 36, 28)), outputs(fast, (3, 36, 28)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
