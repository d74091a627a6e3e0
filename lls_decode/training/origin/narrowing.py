"""A network with fewer filters, begun with the channels of a larger one that matter most.

A channel matters as much as the product of two norms: of the kernel that makes it, and of all kernels that read it.
Channels are chosen layer by layer, and the kernels of later layers keep what they read of them. The narrow network says
something else than the large one at first, but learns in a fraction of the steps that random weights need.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lls_decode.config import NetworkConfig

_HEADS = ("probability", "mean", "sigma", "background")


@dataclass(frozen=True)
class _Layer:
    """A convolution, and the layers whose channels it reads, in the order in which they are concatenated."""

    name: str
    reads: tuple[str, ...]
    """Empty: the channels of the frames themselves, which all stay."""
    width: int | None
    """Output channels in units of the filters; None: output maps, which all stay."""


def narrow(weights: Mapping[str, Tensor], theirs: NetworkConfig, ours: NetworkConfig) -> dict[str, Tensor]:
    """Return the weights of a network of the published kind with fewer filters.

    Parameters
    ----------
    weights
        State of a `lls_decode.model.network.LocNet` with the configuration ``theirs``.
    theirs, ours
        Two configurations that differ in ``filters`` (and in the plane shift, perhaps); ``ours`` has fewer.

    Returns
    -------
    dict
        State of a network with the configuration ``ours``.
    """
    assert ours.variant == theirs.variant == "published"
    layers = list(_layers(ours))
    kept: dict[str, Tensor] = {}
    for layer in layers:
        count = len(weights[f"{layer.name}.weight"])
        if layer.width is None:
            kept[layer.name] = torch.arange(count)
        else:
            importance = _importance(layer.name, layers, weights)
            kept[layer.name] = importance.topk(layer.width * ours.filters).indices.sort().values
    narrowed = {}
    for layer in layers:
        weight, bias = weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"]
        parts = [start + kept[source] for source, start, _ in _inputs(layer, weights)]
        columns = torch.cat(parts) if parts else torch.arange(weight.shape[1])
        rows = kept[layer.name]
        narrowed[f"{layer.name}.weight"] = weight[rows][:, columns].clone()
        narrowed[f"{layer.name}.bias"] = bias[rows].clone()
    return narrowed


def _layers(config: NetworkConfig) -> Sequence[_Layer]:
    """Return all convolutions of the published network, each after those that it reads."""
    frame = "frame_net.out_conv"
    context = (frame,) if config.context == "none" else (frame, frame, frame)
    hidden = "context_net.out_conv"
    heads = (
        layer
        for name in _HEADS
        for layer in (
            _Layer(f"heads.{name}.core.0", (hidden,), 1),
            _Layer(f"heads.{name}.out_conv", (f"heads.{name}.core.0",), None),
        )
    )
    return [*_unet("frame_net", ()), *_unet("context_net", context), *heads]


def _unet(net: str, reads: tuple[str, ...]) -> Sequence[_Layer]:
    """Return the convolutions of a `lls_decode.model.network.UNet`."""

    def stage(name: str, reads: tuple[str, ...], width: int) -> list[_Layer]:
        return [_Layer(f"{net}.{name}.0", reads, width), _Layer(f"{net}.{name}.2", (f"{net}.{name}.0",), width)]

    def single(name: str, read: str, width: int) -> _Layer:
        return _Layer(f"{net}.{name}", (f"{net}.{read}",), width)

    full, half = f"{net}.encoder.0.2", f"{net}.encoder.1.2"
    return [
        *stage("encoder.0", reads, 1),
        single("poolers.0", "encoder.0.2", 1),
        *stage("encoder.1", (f"{net}.poolers.0",), 2),
        single("poolers.1", "encoder.1.2", 2),
        *stage("base", (f"{net}.poolers.1",), 4),
        single("upsamplers.0", "base.2", 2),
        *stage("decoder.0", (half, f"{net}.upsamplers.0"), 2),
        single("upsamplers.1", "decoder.0.2", 1),
        *stage("decoder.1", (full, f"{net}.upsamplers.1"), 1),
        single("out_conv", "decoder.1.2", 1),
    ]


def _importance(name: str, layers: Sequence[_Layer], weights: Mapping[str, Tensor]) -> Tensor:
    """Return how much each output channel of a layer matters."""
    made = weights[f"{name}.weight"].flatten(1).norm(dim=1)
    count = len(made)
    read = torch.zeros(count, dtype=made.dtype)
    for layer in layers:
        for source, start, stop in _inputs(layer, weights):
            if source == name:
                read += weights[f"{layer.name}.weight"][:, start:stop].square().sum(dim=(0, 2, 3))
    return torch.mul(made, read.sqrt())


def _inputs(layer: _Layer, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, int, int]]:
    """Yield the layers that a layer reads, each with the range of its channels among the inputs (end excluded)."""
    start = 0
    for source in layer.reads:
        stop = start + len(weights[f"{source}.weight"])
        yield source, start, stop
        start = stop
