"""A localizer with random weights that finds as many emitters as in a dense movie, for benchmarks without a model."""

from typing import Any

import torch
from torch import Tensor, nn

from lls_decode.axes import NetworkVariant
from lls_decode.config import ComputeConfig, GaussianPsf, NetworkConfig, PaperRule, PixelSize, Scaling, ScmosCamera
from lls_decode.localize.localizer import Localizer
from lls_decode.model.bundle import ModelBundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.optics import build_camera

DETECTIONS_PER_PX = 1 / 400


def make_localizer(
    device: torch.device,
    filters: int,
    dtype: str,
    batch_px: int,
    side: int,
    *,
    density: float = DETECTIONS_PER_PX,
    variant: NetworkVariant = "published",
) -> Localizer:
    """Return a localizer with random weights whose last layer gives about ``density`` detections per pixel."""
    torch.manual_seed(0)
    config = NetworkConfig(filters=filters, context="time", variant=variant)
    network = LocNet(config).eval().requires_grad_(False)
    network.to(device, memory_format=torch.channels_last)
    last = network.heads["probability"].out_conv
    with torch.inference_mode():
        windows = torch.tensor([[0, 1, 2], [1, 2, 3]], device=device)
        logit = network.decode(network.encode(_like_counts(device)), windows).logit + 6
    last.weight.mul_(3 / logit.std())
    last.bias.fill_(float(-1 - 3 * (logit / logit.std()).flatten().quantile(1 - density)) if density else -1e6)
    camera = ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0)
    info = BundleInfo(
        name="random",
        network=network.config,
        scaling=Scaling(input_scale=4, input_offset=15, photons=5000, z_nm=500, bg=50),
        pixel_size=PixelSize(x_nm=100, y_nm=100),
        camera=camera,
        psf=GaussianPsf(sigma_nm=130),
        z_range_nm=(-500, 500),
        photons_range=(500, 3000),
        bg_range=(5, 20),
    )
    return Localizer(
        bundle=ModelBundle(network, info),
        camera=build_camera(camera, side, side, device=device),
        pixel=info.pixel_size,
        geometry=None,
        rule=PaperRule(),
        compute=ComputeConfig(dtype=dtype, batch_px=batch_px),
        device=device,
    )


def _like_counts(device: torch.device) -> Tensor:
    """Return four scaled frames of background as in the benchmarks: 30 counts above the offset, 2 per photon."""
    counts = torch.poisson(torch.full((4, 64, 64), 30.0))
    return ((counts / 2 - 15) / 4).to(device)


def count_work(filters: int, variant: NetworkVariant) -> tuple[float, float]:
    """Return the FLOP per pixel, and the values per pixel that all convolutions read and write."""
    network = LocNet(NetworkConfig(filters=filters, context="time", variant=variant)).eval()
    flop = values = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal flop, values
        assert isinstance(module, nn.Conv2d)
        flop += 2 * output.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        values += inputs[0].numel() + output.numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    frames, side = 4, 32
    with torch.inference_mode():
        network.decode(network.encode(torch.zeros(frames, side, side)), torch.arange(frames)[:, None].expand(-1, 3))
    pixels = frames * side**2
    return flop / pixels, values / pixels
