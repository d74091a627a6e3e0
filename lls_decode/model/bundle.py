"""Model bundles: a trained model in one safetensors file, with weights and a JSON record (`model.info.BundleInfo`)."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from lls_decode.errors import BundleError
from lls_decode.model.info import METADATA_KEY, BundleInfo, read_bundle_info
from lls_decode.model.network import LocNet
from lls_decode.model.weights import check_weights
from lls_decode.table import written_aside


@dataclass(frozen=True)
class ModelBundle:
    """Network with its weights, and the record of its bundle."""

    network: LocNet
    info: BundleInfo


def save_bundle(path: str | Path, network: LocNet, info: BundleInfo, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a bundle atomically (aside, then renamed); equal weights and records give equal bytes."""
    path = Path(path)
    weights = {
        name: value.detach().to("cpu", dtype).contiguous(memory_format=torch.contiguous_format).clone()
        for name, value in network.state_dict().items()
    }
    record = json.dumps(info.to_dict(), sort_keys=True)
    with written_aside(path) as aside:
        aside.write_bytes(save(weights, metadata={METADATA_KEY: record}))


def load_bundle(path: str | Path, *, device: torch.device | str = "cpu") -> ModelBundle:
    """Read a bundle; the network is in evaluation mode, float32, channels-last.

    Raises
    ------
    BundleError
        The file is not a bundle, or its weights do not match its record.
    """
    info = read_bundle_info(path)
    check_weights(path)
    try:
        weights: dict[str, Tensor] = load_file(path, device=str(device))
    except SafetensorError as error:
        raise BundleError(f"Model bundle {path} is damaged ({error}); download or train it again.") from error
    with torch.device("meta"):  # shapes only: a damaged record that describes a huge network allocates no memory
        expected = {name: value.shape for name, value in LocNet(info.network).state_dict().items()}
    if expected != {name: value.shape for name, value in weights.items()}:
        raise BundleError(f"Model bundle {path}: its weights do not fit the network that its record names.")
    network = LocNet(info.network)
    try:
        network.load_state_dict({name: value.float() for name, value in weights.items()})
    except RuntimeError as error:
        raise BundleError(f"Model bundle {path}: its weights do not fit the network that its record names.") from error
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ModelBundle(network.eval().requires_grad_(False), info)


def stored_dtype(path: str | Path) -> torch.dtype:
    """Return the number format of the weights in a valid bundle."""
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(next(iter(file.keys()))).dtype  # type: ignore[no-any-return]
