"""A training that begins with the most important channels of a network with more filters."""

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from lls_decode.config import NetworkConfig
from lls_decode.model.bundle import load_bundle
from lls_decode.model.network import LocNet
from lls_decode.training import train
from lls_decode.training.origin.narrowing import narrow

from .conftest import config, quick

NETWORKS = [
    pytest.param(NetworkConfig(filters=8), id="time"),
    pytest.param(NetworkConfig(filters=8, context="plane", shift_px=2), id="planes"),
    pytest.param(NetworkConfig(filters=8, context="none"), id="single frames"),
    pytest.param(NetworkConfig(filters=8, noise_map=True), id="noise map"),
]


def outputs(network: LocNet, *, noise_map: bool) -> torch.Tensor:
    """Return all output maps of two windows of four random frames."""
    generator = torch.Generator().manual_seed(3)
    frames, noise = torch.rand((2, 4, 16, 24), generator=generator)
    with torch.inference_mode():
        features = network.eval().encode(frames, noise if noise_map else None)
        return torch.stack(tuple(network.decode(features, torch.tensor([[0, 1, 2], [1, 2, 3]]))))


@pytest.mark.parametrize("wide", NETWORKS)
def test_channels_that_do_nothing_are_the_ones_left_out(wide: NetworkConfig) -> None:
    """A network half of whose channels are zero in every layer says the same without them."""
    torch.manual_seed(1)
    network, half = LocNet(wide), wide.replace(filters=4)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and not (name.startswith("heads.") and name.endswith(".out_conv")):
            idle = torch.randperm(layer.out_channels)[: layer.out_channels // 2]
            with torch.no_grad():
                layer.weight[idle] = 0
                layer.bias[idle] = 0  # type: ignore[index]
    narrowed = LocNet(half)
    narrowed.load_state_dict(narrow(network.state_dict(), wide, half))
    found, expected = (outputs(net, noise_map=wide.noise_map) for net in (narrowed, network))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


def test_as_many_filters_are_the_same_network() -> None:
    network = LocNet(NetworkConfig(filters=8))
    same = narrow(network.state_dict(), network.config, network.config)
    assert same.keys() == network.state_dict().keys()
    assert all(torch.equal(value, same[name]) for name, value in network.state_dict().items())


def test_training_begins_with_channels_of_a_larger_network(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wide = config(name="large", network=NetworkConfig(filters=8), steps=2)
    large = train(wide, tmp_path / "large", validator=quick)
    assert large is not None
    few = config(steps=1, learning_rate=1e-12)
    assert few.network.filters == 4
    small = train(few, tmp_path / "small", validator=quick, init_from=large.bundle)
    assert small is not None
    theirs, ours = (load_bundle(result.bundle) for result in (large, small))
    kept = ours.network.state_dict()["frame_net.encoder.0.0.weight"]
    whole = theirs.network.state_dict()["frame_net.encoder.0.0.weight"]
    assert kept.shape[0] == 4
    assert all(any(torch.allclose(row, other, atol=1e-3) for other in whole) for row in kept)
    assert ours.info.training["parent"]["name"] == "large"
    assert "large has 8 filters and this training 4: it starts with the channels of large that matter most" in (
        caplog.text
    )
