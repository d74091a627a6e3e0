"""Model bundles are written and read back; other files are refused."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lls_decode.config import GaussianPsf, Geometry, NetworkConfig, PixelSize, Scaling, ScmosCamera, parse
from lls_decode.errors import BundleError
from lls_decode.model.bundle import load_bundle, save_bundle
from lls_decode.model.info import METADATA_KEY, BundleInfo, bundle_digest, read_bundle_info
from lls_decode.model.network import LocNet

INFO = BundleInfo(
    name="test",
    network=NetworkConfig(filters=4, context="plane", shift_px=-3, shift_axis="y"),
    scaling=Scaling(input_scale=40.0, input_offset=15.0, photons=4500.0, z_nm=600.0, bg=26.4),
    pixel_size=PixelSize(x_nm=104.0, y_nm=105.0),
    camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.1, variance_adu2=5.7),
    psf=GaussianPsf(sigma_nm=130.0),
    geometry=Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8, scan_direction=-1),
    z_range_nm=(-500.0, 500.0),
    photons_range=(1000.0, 3000.0),
    bg_range=(8.0, 22.0),
    training={"seed": 1, "curve": [{"step": 10, "loss": 1.5}], "accuracy": {"jaccard": 0.9}},
)


def network(config: NetworkConfig = INFO.network) -> LocNet:
    torch.manual_seed(0)
    return LocNet(config)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "test.lls"
    save_bundle(path, network(), INFO)
    return path


def test_a_bundle_round_trips_through_its_file(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert loaded.info == INFO == read_bundle_info(bundle)
    assert loaded.network.config == INFO.network
    for name, value in network().state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value), name
    assert not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())
    assert list(bundle.parent.iterdir()) == [bundle], "no temporary file is left"


def test_the_loaded_network_gives_the_same_outputs(bundle: Path) -> None:
    frames, windows = torch.randn(2, 16, 16, dtype=torch.float64), torch.tensor([[0, 0, 1]])
    loaded, saved = load_bundle(bundle).network.double(), network().double()
    found = loaded.decode(loaded.encode(frames), windows)
    expected = saved.decode(saved.encode(frames), windows)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_bundle_with_a_noise_map_round_trips(tmp_path: Path) -> None:
    config = INFO.network.replace(noise_map=True)
    info = INFO.replace(network=config, scaling=INFO.scaling.replace(noise_scale=3.9, noise_offset=0.5))
    saved = LocNet(config)
    save_bundle(tmp_path / "noise.lls", saved, info)
    loaded = load_bundle(tmp_path / "noise.lls")
    assert loaded.info == info
    frames, noise = torch.randn(2, 16, 16), torch.rand(16, 16)
    torch.testing.assert_close(loaded.network.encode(frames, noise), saved.encode(frames, noise))


def test_records_written_before_noise_maps_are_read(bundle: Path) -> None:
    """A record without the noise map's fields describes a network without a noise map."""
    record = INFO.to_dict()
    for part, name in (("network", "noise_map"), ("scaling", "noise_scale"), ("scaling", "noise_offset")):
        del record[part][name]
    assert parse(BundleInfo, record, source="an old record") == INFO


def test_equal_models_have_equal_digests(bundle: Path, tmp_path: Path) -> None:
    """Loading a model and saving it again keeps its digest; another name changes it."""
    again = tmp_path / "again.lls"
    save_bundle(again, load_bundle(bundle).network, INFO)
    assert bundle_digest(again) == bundle_digest(bundle)
    save_bundle(again, network(), INFO.replace(name="other"))
    assert bundle_digest(again) != bundle_digest(bundle)


def test_half_precision_bundles_are_half_the_size(bundle: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.lls"
    save_bundle(half, network(), INFO, dtype=torch.float16)
    weights = sum(p.numel() for p in network().parameters())
    assert bundle.stat().st_size - half.stat().st_size == pytest.approx(2 * weights, abs=1000)
    assert {value.dtype for value in load_file(half).values()} == {torch.float16}
    assert {value.dtype for value in load_bundle(half).network.state_dict().values()} == {torch.float32}


def with_record(path: Path, record: Any) -> None:
    text = record if isinstance(record, str) else json.dumps(record)
    save_file(load_file(path), path, metadata={METADATA_KEY: text})


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def write_torch_checkpoint(path: Path) -> None:
    torch.save(network().state_dict(), path)
    assert zipfile.is_zipfile(path)


def write_header(header: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(struct.pack("<Q", len(header)) + header) and None


def drop_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def without(name: str) -> dict[str, Any]:
    record = INFO.to_dict()
    del record[name]
    return record


FOREIGN = [
    pytest.param(remove, "cannot be read", id="missing file"),
    pytest.param(make_folder, "cannot be read", id="a folder"),
    pytest.param(lambda path: path.write_bytes(b""), "not a model bundle", id="empty"),
    pytest.param(lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00"), "not a model bundle", id="another format"),
    pytest.param(lambda path: path.write_bytes(bytes(range(256)) * 40), "not a model bundle", id="noise"),
    pytest.param(lambda path: path.write_bytes(pickle.dumps({"a": 1})), "not a model bundle", id="a pickle"),
    pytest.param(write_torch_checkpoint, "not a model bundle", id="a torch checkpoint"),
    pytest.param(write_header(b'{"a": '), "not a model bundle", id="a header that is not JSON"),
    pytest.param(write_header(b"[1, 2]"), "no 'lls_decode' record", id="a header that is a list"),
    pytest.param(write_header(b'{"__metadata__": "text"}'), "no 'lls_decode' record", id="metadata that are text"),
    pytest.param(drop_metadata, "no 'lls_decode' record", id="tensors of another program"),
    pytest.param(lambda path: with_record(path, "{"), "record is damaged", id="a record that is not JSON"),
    pytest.param(lambda path: with_record(path, [1]), "record is damaged", id="a record that is a list"),
    pytest.param(
        lambda path: with_record(path, INFO.to_dict() | {"format_version": 2}),
        "bundle format 2, but this program reads 1",
        id="a later version",
    ),
    pytest.param(lambda path: with_record(path, without("format_version")), "bundle format None", id="no version"),
    pytest.param(lambda path: with_record(path, without("scaling")), "scaling: Field required", id="no scaling"),
    pytest.param(
        lambda path: with_record(path, INFO.to_dict() | {"extra": 1}), "unknown key 'extra'", id="unknown key"
    ),
]


@pytest.mark.parametrize(("spoil", "words"), FOREIGN)
def test_files_that_are_not_valid_bundles_are_refused(
    bundle: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(bundle)
    for read in (read_bundle_info, load_bundle):
        with pytest.raises(BundleError, match=words) as caught:
            read(bundle)
        assert str(bundle) in str(caught.value)


def test_reading_a_bundle_never_unpickles(bundle: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return pytest.fail, ("a pickle was executed",)

    bundle.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BundleError):
        load_bundle(bundle)
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    with pytest.raises(BundleError):
        load_bundle(bundle)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_of_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random.lls"
    path.write_bytes(content)
    with pytest.raises(BundleError):
        read_bundle_info(path)


def test_truncated_bundles_are_refused(bundle: Path) -> None:
    content = bundle.read_bytes()
    for length in (0, 7, 8, 100, len(content) // 2, len(content) - 1):
        bundle.write_bytes(content[:length])
        with pytest.raises(BundleError):
            load_bundle(bundle)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(NetworkConfig(filters=5, context="plane"), id="more filters"),
        pytest.param(NetworkConfig(filters=4, context="none"), id="without context"),
    ],
)
def test_weights_of_another_network_are_refused(bundle: Path, other: NetworkConfig) -> None:
    save_bundle(bundle, network(other), INFO)
    with pytest.raises(BundleError, match="do not fit the network"):
        load_bundle(bundle)


def test_a_bundle_with_a_missing_tensor_is_refused(bundle: Path) -> None:
    weights = load_file(bundle)
    del weights["context_net.out_conv.bias"]
    save_file(weights, bundle, metadata={METADATA_KEY: json.dumps(INFO.to_dict())})
    with pytest.raises(BundleError, match="do not fit the network"):
        load_bundle(bundle)
