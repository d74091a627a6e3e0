"""Import of models trained with DECODE (Speiser et al. 2021) as bundles.

In DECODE, x is the row and y is the column, so the outputs for x and y are exchanged; frames are not transposed. If the
two widths of a network (``initial_features``, ``inter_features``) differ, its weights are padded with zeros to the
larger one. If it was trained on mirrored frames, the network is mirrored. Neither changes its results. Files are read
with ``weights_only``, so that code in them is not executed.
"""

import hashlib
import io
import logging
import pickle
import re
import warnings
import zipfile
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
from lls_decode.unpacking import check_array_file

logger = logging.getLogger(__name__)

Weights = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

_ROTATED = re.compile(r"model_\d+\.pt")
_SIGMA_EPS = 0.001
_FEWEST_FILTERS = 4
_HEADS = {"probability": 1, "mean": 4, "sigma": 4, "background": 1}
"""Number of outputs of each head, in DECODE's order of heads."""
_TO_OUR_AXES = [0, 2, 1, 3]
"""Order of the outputs photons, x, y, z with x and y exchanged."""
_MOST_BYTES = 256 << 20
"""Largest size of a model of DECODE with the state of its optimizer, packed and unpacked; usual are 30 MB."""
_ADVICE = "give the model_*.pt that DECODE wrote when it trained a SigmaMUNet"


@guarded
def import_decode(
    model: Path, params: Path | None, out: Path, *, name: str | None = None, licence: str = "unknown"
) -> BundleInfo:
    """Write a trained DECODE model as a bundle.

    Parameters
    ----------
    model
        ``model_*.pt``, or a checkpoint ``ckpt.pt``, from which the weights are used.
    params
        ``param_run.yaml`` of the model; None: the file beside ``model``.
    out
        Bundle to write (``.lls``).
    name
        Name of the model; None: file name of ``out``.
    licence
        Licence of the weights.

    Raises
    ------
    BundleError
        A file cannot be read, is from another program, or describes a model that lls-decode does not support.
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
        logger.info("%s was trained on mirrored frames; the imported model expects frames as they are recorded", model)
    if network.config.context == "plane":
        logger.warning(
            "%s was trained on planes %g nm of stage travel apart: its context is the neighbouring planes of a "
            "sweep, in runs without a geometry",
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
        check_array_file(path, most=_MOST_BYTES)
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise BundleError(f"DECODE model {path} cannot be read ({error.strerror}); {_ADVICE}.") from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is not a torch file, or is damaged ({error}); {_ADVICE}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about old and unusual formats, which are read or refused below
            loaded: Any = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path} holds objects other than tensors, which could run code on loading, or is damaged; {_ADVICE}."
        ) from error
    except Exception as error:  # torch raises various exceptions for other kinds of files
        raise BundleError(f"{path} is not a torch file, or is damaged ({type(error).__name__}); {_ADVICE}.") from error
    if isinstance(loaded, dict) and "model_state" in loaded:
        logger.info("%s is a checkpoint (step %s); importing its weights", path, loaded.get("step", "unknown"))
        loaded = loaded["model_state"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise BundleError(f"{path} holds {type(loaded).__name__}, expected named tensors (a state dict); {_ADVICE}.")
    return loaded


def _warn_of_newer(path: Path) -> None:
    """Warn if a newer model lies beside the given one; DECODE saves in turn to model_0, model_1 and model_2."""
    if not _ROTATED.fullmatch(path.name):
        return
    rotation = [other for other in path.parent.iterdir() if _ROTATED.fullmatch(other.name)]
    newest = max(rotation, key=lambda other: other.stat().st_mtime_ns)
    if newest.stat().st_mtime_ns > path.stat().st_mtime_ns:
        logger.warning(
            "%s is not the newest model: DECODE saves in turn to model_0, model_1, model_2, and %s is newer",
            path,
            newest.name,
        )


def _check_widths(weights: Weights, theirs: DecodeParams, model: Path, params: Path) -> tuple[int, int]:
    """Return ``initial_features`` and ``inter_features``; refuse other networks and parameters of another model."""
    first, last = (weights.get(f"unet_shared.{name}.weight") for name in ("encoder.0.0", "out_conv"))
    if first is None or first.ndim != 4 or last is None or last.ndim != 4:
        keys = ", ".join(list(weights)[:3]) or "none"
        raise BundleError(f"{model} holds the weights of another network (keys: {keys}, ...); {_ADVICE}.")
    inputs = 2 if theirs.hyper.sig_in else 1
    if first.shape[1] != inputs and first.shape[1] in (1, 2):
        raise BundleError(
            f"{model} has {first.shape[1]} input channel(s) per frame (frame, noise map), but {params} has {inputs} "
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
            f"{params} has {arch.initial_features} initial and {arch.inter_features} inter features, but {model} has "
            f"{initial} and {inter}; give the param_run.yaml that belongs to this model."
        )
    return initial, inter


def _check_values(weights: Weights, model: Path) -> None:
    for name, value in weights.items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise BundleError(f"{model}: {name} holds numbers that are not finite; import the model of another epoch.")
    eps = float(weights["sigma_eps"])
    if abs(eps - _SIGMA_EPS) > 1e-6:
        raise BundleError(f"{model}: its smallest sigma (sigma_eps) is {eps:g}, but only {_SIGMA_EPS:g} is supported.")


def _their_shapes(initial: int, inter: int, channels_in: int, inputs_a_frame: int) -> Shapes:
    """Return the shape of every tensor of a SigmaMUNet of depth 2, by DECODE's names."""
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
    """Convert DECODE's weights to the names, widths, axes and orientation of `LocNet`."""
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
    """Return how many feature maps are concatenated as input of a layer."""
    if name == "context_net.encoder.0.0.weight" and config.context != "none":
        return 3
    return 2 if re.search(r"decoder\.\d\.0\.weight", name) else 1


def _widen(value: Tensor, shape: torch.Size, *, blocks: int) -> Tensor:
    """Pad weights with zeros to a shape, keeping the input channels of each block together."""
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
    """Return the weights of the network that gives, for original frames, the results for mirrored frames."""
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
    """Warn if the model cannot predict its whole training range, as DECODE sets z_max from the upper limit only."""
    farthest = max(abs(z) for z in info.z_range_nm)
    if info.network.predict_z and farthest > info.scaling.z_nm:
        logger.warning(
            "%s was trained on z from %g to %g nm, but can predict only up to %g nm on either side of the focus",
            info.name,
            *info.z_range_nm,
            info.scaling.z_nm,
        )
