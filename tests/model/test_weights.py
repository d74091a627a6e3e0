"""A model with NaN or infinite weights is refused, because it would silently find nothing."""

from pathlib import Path

import pytest
import torch

from lls_decode.config import GaussianPsf, NetworkConfig, PixelSize, Scaling, ScmosCamera
from lls_decode.errors import BundleError
from lls_decode.model.bundle import load_bundle, save_bundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.model.weights import check_weights

INFO = BundleInfo(
    name="a", network=NetworkConfig(filters=4),
    scaling=Scaling(input_scale=100, input_offset=0, photons=1e4, z_nm=500, bg=100),
    pixel_size=PixelSize(x_nm=100, y_nm=100), camera=ScmosCamera(offset_adu=100, gain_adu_per_e=1, variance_adu2=2),
    psf=GaussianPsf(sigma_nm=130), z_range_nm=(-500, 500), photons_range=(100, 1000), bg_range=(1, 10),
)  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_and_infinite_weights_are_refused(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    network, path = LocNet(INFO.network), tmp_path / "a.lls"
    save_bundle(path, network, INFO, dtype=dtype)
    check_weights(path)
    list(network.parameters())[-1].data.view(-1)[-1] = value
    save_bundle(path, network, INFO, dtype=dtype)
    for read in (check_weights, load_bundle):
        with pytest.raises(BundleError, match="NaN or infinite"):
            read(path)


def test_a_record_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.lls"
    save_bundle(path, LocNet(INFO.network), INFO.replace(network=NetworkConfig(filters=500)))
    with pytest.raises(BundleError, match="do not fit the network"):
        load_bundle(path)
