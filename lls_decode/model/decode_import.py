"""Models that DECODE (Speiser et al. 2021) has trained, as bundles.

Their x is the row and their y the column, so the outputs of x and y change places; frames keep theirs. A network whose
two widths (``initial_features``, ``inter_features``) differ is filled up with zeros to the larger of them, and one that
saw mirrored frames is mirrored itself: both give the same numbers. Files are read with ``weights_only``: no code in
them is run.
"""

import hashlib
import io
import logging
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lls_decode.config import NetworkConfig
from lls_decode.errors import BundleError, OutputError
from lls_decode.model.bundle import save_bundle
from lls_decode.model.decode_params import (
    DecodeParams,
    read_params,
    to_camera,
    to_network,
    to_pixel_size,
    to_scaling,
    training_ranges,
)
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.outputs import guarded, note_read

logger = logging.getLogger(__name__)

Weights = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

_ROTATED = re.compile(r"model_\d+\.pt")
_SIGMA_EPS = 0.001
_FEWEST_FILTERS = 4
_HEADS = {"probability": 1, "mean": 4, "sigma": 4, "background": 1}
"""Outputs of each head, in their order."""
_TO_OUR_AXES = [0, 2, 1, 3]
"""Photons, x, y, z with x and y exchanged."""
_ADVICE = "give the model_*.pt that DECODE wrote when it trained a SigmaMUNet"


@guarded
def import_decode(
    model: Path, params: Path | None, out: Path, *, name: str | None = None, licence: str = "unknown"
) -> BundleInfo:
    """Write a trained DECODE model as a bundle.

    Parameters
    ----------
    model
        ``model_*.pt``, or ``ckpt.pt``, of which the weights are taken.
    params
        Its ``param_run.yaml``; None: the one beside ``model``.
    out
        The bundle (``.lls``).
    name
        Name of the model; None: that of ``out``.
    licence
        Licence of the weights.

    Raises
    ------
    BundleError
        A file cannot be read, is another program's, or describes what cannot be expressed here.
    OutputError
        The bundle cannot be written.
    """
    model, out = Path(model), Path(out)
    params = Path(params) if params is not None else model.with_name("param_run.yaml")
    note_read(model)
    weights = _read_weights(model)
    _warn_of_newer(model)
    theirs = read_params(params)
    initial, inter = _check_widths(weights, theirs, model, params)
    _check_values(weights, model)
    network = LocNet(to_network(theirs, max(initial, inter, _FEWEST_FILTERS)))
    network.load_state_dict(_convert(weights, network, theirs.camera.mirror_dim))
    if theirs.camera.mirror_dim is not None:
        logger.info("%s saw mirrored frames: as imported it takes frames as they are recorded", model)
    if network.config.context == "plane":
        logger.warning(
            "%s was trained on planes %g nm of stage travel apart: it looks along the planes of a sweep, in runs that "
            "give no geometry",
            model,
            theirs.plane_step_nm,
        )
    ranges = training_ranges(theirs)
    info = BundleInfo(
        name=name or out.stem,
        network=network.config,
        scaling=to_scaling(theirs),
        pixel_size=to_pixel_size(theirs),
        camera=to_camera(theirs),
        psf=None,
        z_range_nm=ranges.z_nm,
        photons_range=ranges.photons,
        bg_range=ranges.bg,
        licence=licence,
        training=_provenance(model, params, theirs, initial, inter),
    )
    _warn_of_unreachable_z(info)
    try:
        save_bundle(out, network, info)
    except OSError as error:
        raise OutputError(
            f"Model bundle {out} cannot be written ({error.strerror}); choose a writable folder."
        ) from error
    return info


def _read_weights(path: Path) -> Weights:
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise BundleError(f"DECODE model {path} cannot be read ({error.strerror}); {_ADVICE}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old and of unusual formats, which are read or refused all the same
            loaded: Any = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path} holds other things than tensors, which could run code on loading, or is damaged; {_ADVICE}."
        ) from error
    except Exception as error:  # what torch raises for files of other kinds differs from kind to kind
        raise BundleError(f"{path} is no file of torch, or is damaged ({type(error).__name__}); {_ADVICE}.") from error
    if isinstance(loaded, dict) and "model_state" in loaded:
        logger.info("%s is a checkpoint (step %s): its weights are taken", path, loaded.get("step", "unknown"))
        loaded = loaded["model_state"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise BundleError(f"{path} holds {type(loaded).__name__}, expected named tensors (a state dict); {_ADVICE}.")
    return loaded


def _warn_of_newer(path: Path) -> None:
    """DECODE writes its epochs in turn to model_0, model_1 and model_2."""
    if not _ROTATED.fullmatch(path.name):
        return
    rotation = [other for other in path.parent.iterdir() if _ROTATED.fullmatch(other.name)]
    newest = max(rotation, key=lambda other: other.stat().st_mtime_ns)
    if newest.stat().st_mtime_ns > path.stat().st_mtime_ns:
        logger.warning(
            "%s is not the newest: DECODE saves in turn to model_0, model_1, model_2, and %s is newer than it",
            path,
            newest.name,
        )


def _check_widths(weights: Weights, theirs: DecodeParams, model: Path, params: Path) -> tuple[int, int]:
    """``initial_features`` and ``inter_features``; refuses other networks, and parameters of another model."""
    first, last = (weights.get(f"unet_shared.{name}.weight") for name in ("encoder.0.0", "out_conv"))
    if first is None or first.ndim != 4 or last is None or last.ndim != 4:
        keys = ", ".join(list(weights)[:3]) or "none"
        raise BundleError(f"{model} holds the weights of another network (keys: {keys}, ...); {_ADVICE}.")
    inputs = 2 if theirs.hyper.sig_in else 1
    if first.shape[1] != inputs and first.shape[1] in (1, 2):
        raise BundleError(
            f"{model} takes {first.shape[1]} input channel(s) a frame (frame, noise map), {params} speaks of {inputs} "
            f"(HyperParameter.sig_in is {theirs.hyper.sig_in}); give the param_run.yaml that belongs to this model."
        )
    arch = theirs.hyper.arch_param
    initial, inter = first.shape[0], last.shape[0]
    expected = _their_shapes(initial, inter, theirs.hyper.channels_in, inputs)
    found = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if wrong:
        name = wrong[0]
        raise BundleError(
            f"{model} holds the weights of another network ({name}: {found.get(name, 'absent')}, expected "
            f"{expected.get(name, 'no such weights')}; {len(wrong)} such differences); {_ADVICE}, with its own "
            "parameters."
        )
    if (initial, inter) != (arch.initial_features, arch.inter_features):
        raise BundleError(
            f"{params} speaks of {arch.initial_features} initial and {arch.inter_features} inter features, {model} has "
            f"{initial} and {inter}; give the param_run.yaml that belongs to this model."
        )
    return initial, inter


def _check_values(weights: Weights, model: Path) -> None:
    for name, value in weights.items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise BundleError(f"{model}: {name} holds values that are no numbers; import the model of another epoch.")
    eps = float(weights["sigma_eps"])
    if abs(eps - _SIGMA_EPS) > 1e-6:
        raise BundleError(f"{model}: its smallest sigma (sigma_eps) is {eps:g}, only {_SIGMA_EPS:g} can be expressed.")


def _their_shapes(initial: int, inter: int, channels_in: int, inputs_a_frame: int) -> Shapes:
    """Every tensor of a SigmaMUNet of depth 2, as DECODE names them."""
    f, g = initial, inter
    shapes: Shapes = {"sigma_eps": (1,)}

    def conv(name: str, outputs: int, inputs: int, size: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, size, size)
        shapes[f"{name}.bias"] = (outputs,)

    for unet, inputs in (("unet_shared", inputs_a_frame), ("unet_union", channels_in * g)):
        stages = {"encoder.0": (inputs, f), "encoder.1": (f, 2 * f), "base": (2 * f, 4 * f)}
        stages |= {"decoder.0": (4 * f, 2 * f), "decoder.1": (2 * f, f)}
        for stage, (before, after) in stages.items():
            conv(f"{unet}.{stage}.0", after, before, 3)
            conv(f"{unet}.{stage}.2", after, after, 3)
        for level, width in enumerate((f, 2 * f)):
            conv(f"{unet}.poolers.{level}", width, width, 2)
        for level, width in enumerate((2 * f, f)):
            conv(f"{unet}.upsamplers.{level}.conv", width, 2 * width, 1)
        conv(f"{unet}.out_conv", g, f, 1)
    for number, outputs in enumerate(_HEADS.values()):
        conv(f"mt_heads.{number}.core.0", g, g, 3)
        conv(f"mt_heads.{number}.out_conv", outputs, g, 1)
    return shapes


def _convert(weights: Weights, network: LocNet, mirror_dim: int | None) -> dict[str, Tensor]:
    """Their weights in our names, widths, axes and orientation."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    ours = {}
    for name, value in weights.items():
        if name != "sigma_eps":
            our = _our_name(name)
            ours[our] = _widen(value.float(), shapes[our], blocks=_num_inputs(our, network.config))
    for head in ("mean", "sigma"):
        for kind in ("weight", "bias"):
            name = f"heads.{head}.out_conv.{kind}"
            ours[name] = ours[name][_TO_OUR_AXES]
    return ours if mirror_dim is None else _mirrored(ours, mirror_dim)


def _our_name(theirs: str) -> str:
    name = theirs.replace("unet_shared", "frame_net").replace("unet_union", "context_net")
    for number, head in enumerate(_HEADS):
        name = name.replace(f"mt_heads.{number}.", f"heads.{head}.")
    return re.sub(r"(upsamplers\.\d)\.conv", r"\1", name)


def _num_inputs(name: str, config: NetworkConfig) -> int:
    """Of how many feature maps side by side the input of a layer is made."""
    if name == "context_net.encoder.0.0.weight" and config.context != "none":
        return 3
    return 2 if re.search(r"decoder\.\d\.0\.weight", name) else 1


def _widen(value: Tensor, shape: torch.Size, *, blocks: int) -> Tensor:
    """Fill up with zeros; the input channels of each block stay together."""
    if value.shape == shape:
        return value
    wide = value.new_zeros(shape)
    if value.ndim == 1:
        wide[: len(value)] = value
        return wide
    outputs, before, after = value.shape[0], value.shape[1] // blocks, shape[1] // blocks
    for block in range(blocks):
        wide[:outputs, block * after : block * after + before] = value[:, block * before : (block + 1) * before]
    return wide


def _mirrored(ours: Weights, dim: int) -> dict[str, Tensor]:
    """The network that does to frames as they are what another does to mirrored ones (1x1 to 3x3, and 2x2 stride 2)."""
    mirrored = {name: value.flip(dim) if value.ndim == 4 else value.clone() for name, value in ours.items()}
    offset = 1 if dim == -1 else 2  # x or y among photons, x, y, z
    for kind in ("weight", "bias"):
        mirrored[f"heads.mean.out_conv.{kind}"][offset] *= -1
    return mirrored


def _provenance(model: Path, params: Path, theirs: DecodeParams, initial: int, inter: int) -> dict[str, Any]:
    def source(path: Path) -> dict[str, str]:
        return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    return {
        "imported_from": "DECODE",
        "version": theirs.meta.version,
        "model": source(model),
        "params": source(params),
        "initial_features": initial,
        "inter_features": inter,
        "mirror_dim": theirs.camera.mirror_dim,
    }


def _warn_of_unreachable_z(info: BundleInfo) -> None:
    """Their z_max follows the upper limit of z only."""
    farthest = max(abs(z) for z in info.z_range_nm)
    if info.network.predict_z and farthest > info.scaling.z_nm:
        logger.warning(
            "%s was trained on z from %g to %g nm, but can express %g nm only on either side",
            info.name,
            *info.z_range_nm,
            info.scaling.z_nm,
        )
