"""Assembly of a localizer from a model bundle and a run configuration."""

import logging
from pathlib import Path

import torch

from lls_decode.axes import Layout
from lls_decode.config import CompilationTarget, ComputeConfig, ResolvedRunConfig, RunConfig, choose_compilation
from lls_decode.errors import ConfigError
from lls_decode.localize.arithmetic import resolve_dtype, warn_of_slow_arithmetic
from lls_decode.localize.compilation import compile_network, find_compiled_code, find_record
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.model.bundle import load_bundle
from lls_decode.model.fast import use_fast_graph
from lls_decode.model.info import BundleInfo
from lls_decode.models import RunConfigLike, as_run_config, find_bundle
from lls_decode.optics import build_camera

logger = logging.getLogger(__name__)


def build_localizer(
    model: str | Path, config: RunConfigLike, layout: Layout, *, compiles: bool | None = None
) -> Localizer:
    """Build a localizer from a bundle and the run's camera, pixel size, geometry and detection rule.

    This changes settings of the process: it sets the number of torch threads if ``compute.threads`` is given, makes
    malloc keep freed memory on a CPU (`localize.memory`), and allows TensorFloat-32 on a GPU unless the run uses
    float32. A ``compute.dtype`` of ``auto`` is replaced by the best type for the device, which is logged.

    Parameters
    ----------
    model
        Path of a bundle, or name of a shipped bundle.
    config
        Resolved configuration of a plan, or a run configuration; missing camera, pixel size and geometry are taken from
        the bundle.
    layout
        Size of the dataset.
    compiles
        Whether a ``compute.compile`` of ``auto`` compiles the network, if the device can; None: as for one worker that
        processes the whole dataset.

    Raises
    ------
    BundleError, ConfigError
        The bundle is unreadable, the camera or its maps do not match, or the device is not available.
    """
    bundle, config = find_bundle(model), as_run_config(config)
    device = choose_device(config.compute)
    if device.type == "cpu":
        keep_freed_memory()
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    compute = resolve_dtype(config.compute, device)
    # TensorFloat-32 has the mantissa of float16: too inexact for a float32 run, but good enough for a 16-bit run
    torch.backends.cudnn.allow_tf32 = compute.dtype != "float32"
    warn_of_slow_arithmetic(compute, device)
    loaded = load_bundle(bundle, device=device)
    if device.type == "cuda" and compute.dtype == "float16":
        use_fast_graph(loaded.network, torch.float16)
    part = loaded.info.tile_of(config.part.roi, layout)
    size = (layout.height, layout.width) if part is None else part.read_size
    target = CompilationTarget(loaded.info.network, *size, compute.tile_px)
    record = find_record(target, compute.dtype, device)
    code = find_compiled_code(record, device)
    choice = choose_compilation(compute.compile, [code], layout.num_pixels)
    is_compiled = choice.is_on if compiles is None or compute.compile != "auto" else compiles and code != "impossible"
    if compiles is None and device.type == "cuda":
        logger.info("network: %s", choice.describe())
    if is_compiled:
        compile_network(loaded.network, required=compute.compile is True, record=record)
    config = _resolve(config, loaded.info)
    camera = build_camera(config.camera, layout.height, layout.width, device=device)
    if loaded.info.network.noise_map:
        _ = camera.read_noise  # raises the error for an EMCCD camera here, not at the first frame
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
    """Take missing values of a configuration from the bundle; return a resolved configuration unchanged."""
    if isinstance(config, ResolvedRunConfig):
        return config
    return config.resolve(
        camera=config.camera or info.camera,
        pixel_size=config.pixel_size or info.pixel_size,
        geometry=config.geometry or info.geometry,
    )


def choose_device(compute: ComputeConfig) -> torch.device:
    """Return the configured device; ``auto`` means a GPU if one is available."""
    available = torch.cuda.is_available()
    if compute.device == "cuda" and not available:
        raise ConfigError(
            "compute.device is 'cuda', but this process sees no CUDA device; use --device cpu, or run "
            "'lls-decode doctor' to see why."
        )
    return torch.device("cuda" if available and compute.device != "cpu" else "cpu")
