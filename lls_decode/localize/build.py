"""The one place that assembles a localizer."""

from pathlib import Path

import torch

from lls_decode.axes import Layout
from lls_decode.config import ComputeConfig, ResolvedRunConfig, RunConfig
from lls_decode.errors import ConfigError
from lls_decode.localize.arithmetic import resolve_dtype, warn_of_slow_arithmetic
from lls_decode.localize.compilation import compile_network, is_compiled
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.model.bundle import load_bundle
from lls_decode.model.fast import use_fast_graph
from lls_decode.model.info import BundleInfo
from lls_decode.models import RunConfigLike, as_run_config, find_bundle
from lls_decode.optics import build_camera


def build_localizer(model: str | Path, config: RunConfigLike, layout: Layout) -> Localizer:
    """Load a bundle and join it with the run's camera, pixel size, geometry and rules.

    Sets the number of torch threads of this process when ``compute.threads`` is given; tells malloc on a CPU to keep
    what it has (`localize.memory`); lets a GPU use TensorFloat-32 where the run asks for 16 bits. A ``compute.dtype``
    of ``auto`` becomes what the device is best at, which is logged.

    Parameters
    ----------
    model
        Path of a bundle, or the name of a shipped one.
    config
        The configuration of a plan, which is resolved; or any other, whose missing camera, pixel size and geometry are
        those of the bundle.
    layout
        Size of the dataset.

    Raises
    ------
    BundleError, ConfigError
        The bundle is unreadable, the camera or its maps do not fit, or the device is not there.
    """
    bundle, config = find_bundle(model), as_run_config(config)
    device = choose_device(config.compute)
    if device.type == "cpu":
        keep_freed_memory()
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    compute = resolve_dtype(config.compute, device)
    # TensorFloat-32 has the mantissa of float16: what is called float32 would not be, beside 16 bits it is good enough
    torch.backends.cudnn.allow_tf32 = compute.dtype != "float32"
    warn_of_slow_arithmetic(compute, device)
    loaded = load_bundle(bundle, device=device)
    if device.type == "cuda" and compute.dtype == "float16":
        use_fast_graph(loaded.network, torch.float16)
    if is_compiled(compute.compile, device, layout.num_pixels):
        compile_network(loaded.network, required=compute.compile is True)
    config = _resolve(config, loaded.info)
    camera = build_camera(config.camera, layout.height, layout.width, device=device)
    if loaded.info.network.noise_map:
        _ = camera.read_noise  # an EMCCD camera is refused here, not at the first frame
    part = loaded.info.tile_of(config.part.roi, layout)
    if part is not None:
        camera = camera.crop(part.read_y, part.read_x)
    return Localizer(
        bundle=loaded,
        camera=camera,
        pixel=config.pixel_size,
        geometry=config.geometry,
        rule=config.detection.resolve(loaded.info.detection),
        compute=compute,
        device=device,
        part=part,
    )


def _resolve(config: RunConfig, info: BundleInfo) -> ResolvedRunConfig:
    """Take from the bundle what a configuration leaves open; a resolved one is what it is."""
    if isinstance(config, ResolvedRunConfig):
        return config
    return config.resolve(
        camera=config.camera or info.camera,
        pixel_size=config.pixel_size or info.pixel_size,
        geometry=config.geometry or info.geometry,
    )


def choose_device(compute: ComputeConfig) -> torch.device:
    """The device that a run asks for; ``auto`` is a GPU when there is one."""
    available = torch.cuda.is_available()
    if compute.device == "cuda" and not available:
        raise ConfigError(
            "compute.device is 'cuda', but this process sees no CUDA device; use --device cpu, or run "
            "'lls-decode doctor' to see why."
        )
    return torch.device("cuda" if available and compute.device != "cpu" else "cpu")
