"""Training learns, can be interrupted at any moment without a change of results, and records what it did."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lls_decode.config import BackgroundConfig, EmccdCamera, NetworkConfig, PerlinTexture, TrainingConfig
from lls_decode.errors import ConfigError, LlsDecodeError, OutputError, RunConflictError
from lls_decode.localize import build_validator
from lls_decode.model.bundle import load_bundle
from lls_decode.model.layers import ExactConv2d
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.simulate import Targets, simulate_batch
from lls_decode.training import ahead, train
from lls_decode.training.ahead import simulate_step
from lls_decode.training.average import WeightAverage
from lls_decode.training.loss import Losses, decode_loss
from lls_decode.training.matching import matching_loss
from lls_decode.training.record import bundle_info, choose_scaling

from .conftest import CHIP, config, final_state, quick


@pytest.mark.parametrize("loss", [decode_loss, matching_loss])
def test_a_tiny_network_learns_a_handful_of_frames(loss: Callable[[OutputMaps, Targets], Losses]) -> None:
    """Simulation, scaling, network and loss fit together, so that training finds the simulated emitters."""
    c = config("none", crop_px=24, network=NetworkConfig(filters=8, context="none"))
    scaling = choose_scaling(c)
    batch = simulate_batch(
        c.simulation,
        context="none",
        num_sequences=1,
        sequence_frames=4,
        height=24,
        width=24,
        generator=torch.Generator().manual_seed(3),
    )
    truth = batch.targets(scaling, c.simulation)
    assert len(truth.window) > 8
    torch.manual_seed(3)
    network = LocNet(c.network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    # the rate decays, because at a constant rate the loss fluctuates and the last step is arbitrary
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=300)
    inputs = (batch.photons_TYX - scaling.input_offset) / scaling.input_scale

    def losses() -> Losses:
        return loss(network.decode(network.encode(inputs), batch.windows_N3), truth)

    first = losses()
    for _ in range(300):  # the last emitters are found after about 150 steps, which depends on the processor
        optimizer.zero_grad()
        total = losses().total
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        rate.step()
    last = losses()
    assert last.localization < first.localization - 5
    assert last.count < first.count - 3
    assert last.background < 0.1 * first.background
    found = network.decode(network.encode(inputs), batch.windows_N3).probability.sum().item()
    assert found == pytest.approx(len(truth.window), rel=0.15)


def check_same_training(one: Path, other: Path) -> None:
    """Check that weights, moments of the optimiser and random state are bit-identical."""
    first, second = final_state(one), final_state(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    for folder in (one, other):
        rows = (folder / "curve.csv").read_text().splitlines()[1:]
        assert [float(row.split(",")[0]) for row in rows] == [4, 8, 12]
    weights = [load_file(folder / "tiny.lls") for folder in (one, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert train(config(), folder, validator=quick) is not None
    return folder


def test_training_is_reproducible(uninterrupted: Path, tmp_path: Path) -> None:
    train(config(), tmp_path, validator=quick)
    check_same_training(uninterrupted, tmp_path)


def test_a_stopped_training_resumes_identically(uninterrupted: Path, tmp_path: Path) -> None:
    assert train(config(), tmp_path, validator=quick, stop_after=5) is None
    assert not (tmp_path / "tiny.lls").exists()
    assert train(config(), tmp_path, validator=quick, stop_after=4) is None
    result = train(config(), tmp_path, validator=quick, stop_after=100)
    assert result is not None
    assert result.steps == 12
    check_same_training(uninterrupted, tmp_path)


@pytest.mark.parametrize("step", [1, 3, 7, 12])
def test_a_killed_training_resumes_identically(uninterrupted: Path, tmp_path: Path, step: int) -> None:
    """It resumes from the last checkpoint, and a repeated validation leaves a single row."""

    class Killed(Exception):
        pass

    def kill(now: int, steps: int, losses: Losses) -> None:
        assert steps == 12
        assert torch.isfinite(losses.total)
        if now == step:
            raise Killed

    with pytest.raises(Killed):
        train(config(), tmp_path, validator=quick, progress=kill)
    train(config(), tmp_path, validator=quick)
    check_same_training(uninterrupted, tmp_path)


def test_a_training_killed_while_writing_a_checkpoint_resumes_identically(uninterrupted: Path, tmp_path: Path) -> None:
    train(config(), tmp_path, validator=quick, stop_after=5)
    (tmp_path / "checkpoint-9.safetensors").write_bytes(b"torn")
    (tmp_path / ".checkpoint.json").write_text('{"step": 9, "ten')
    train(config(), tmp_path, validator=quick)
    check_same_training(uninterrupted, tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-0-12.safetensors"]


@pytest.mark.parametrize("name", ["checkpoint.json", "checkpoint-0-5.safetensors"])
@pytest.mark.parametrize("length", [0, 40])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, name: str, length: int) -> None:
    train(config(), tmp_path, validator=quick, stop_after=5)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:length])
    with pytest.raises(ConfigError, match=r"is damaged or of an unknown variant .* or delete it to begin again"):
        train(config(), tmp_path, validator=quick)


def test_a_full_disk_stops_a_training(mount_disk: Callable[[str], Path]) -> None:
    disk = mount_disk("size=64k")
    with pytest.raises(OutputError, match="the disk is full"):
        train(config(), disk / "tiny", validator=quick)
    assert [path.name for path in (disk / "tiny").iterdir()] == ["training.yaml"]


def test_simulating_ahead_does_not_change_the_training(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training resumes identically if simulating ahead is switched off and on between its parts."""
    for devices, stop_after in ((("cpu",), 5), ((), 2), (("cpu",), None)):
        monkeypatch.setattr(ahead, "AHEAD_ON", devices)
        train(config(), tmp_path / "stopped", validator=quick, stop_after=stop_after)
    check_same_training(uninterrupted, tmp_path / "stopped")
    train(config(), tmp_path / "whole", validator=quick)
    check_same_training(uninterrupted, tmp_path / "whole")


def test_a_finished_training_is_not_repeated(uninterrupted: Path) -> None:
    def fail(now: int, steps: int, losses: Losses) -> None:
        pytest.fail("a training step was made")

    result = train(config(), uninterrupted, validator=quick, progress=fail)
    assert result is not None
    assert result.steps == 12


def test_another_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    train(config(), tmp_path, validator=quick, stop_after=1)
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    with pytest.raises(RunConflictError, match=r"another configuration \(learning_rate: 0.0006 -> 0.001\)"):
        train(config(learning_rate=1e-3), tmp_path, validator=quick)
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == before


def test_a_file_in_place_of_the_output_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="give another --out"):
        train(config(), tmp_path / "file", validator=quick)


def test_a_diverging_training_suggests_a_lower_learning_rate(tmp_path: Path) -> None:
    with pytest.raises(LlsDecodeError, match="lower learning_rate"):
        train(config(learning_rate=1e30), tmp_path, validator=quick)


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(config("none"), id="none"),
        pytest.param(config("time"), id="time"),
        pytest.param(config("plane"), id="plane"),
        pytest.param(config("time", flat=True), id="two dimensions"),
        pytest.param(config("plane", precision="bfloat16"), id="bfloat16"),
        pytest.param(config("time", network=NetworkConfig(filters=4, noise_map=True)), id="noise map"),
    ],
)
def test_a_training_writes_a_complete_bundle(what: TrainingConfig, tmp_path: Path) -> None:
    """The default validator runs, although a network of four steps finds nothing."""
    what = what.replace(steps=4, validate_every=2)
    result = train(what, tmp_path, validator=build_validator(what))
    assert result is not None
    bundle = load_bundle(result.bundle)
    info = bundle.info
    assert (info.name, info.network, info.pixel_size) == ("tiny", what.network, what.simulation.pixel_size)
    assert info.geometry == what.simulation.geometry
    assert info.camera == CHIP.nominal()
    assert info.photons_range == (60.0, 6000.0), "from a hundredth of the brightest expected up to its double"
    assert info.bg_range == pytest.approx((8 / 1.5, 22 * 1.5))
    assert TrainingConfig.model_validate(info.training["configuration"]) == what
    assert (info.training["seed"], info.training["steps"], info.training["target_frames"]) == (3, 4, 24)
    assert [row["step"] for row in info.training["curve"]] == [2, 4]
    assert info.training["accuracy"] == result.accuracy
    assert info.training["accuracy"]["num_truth"] > 0
    json.dumps(info.to_dict(), allow_nan=False)


def test_a_training_with_a_noise_map_learns_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network gets the simulated cameras' read noise, its gradient is nonzero, and features depend on it."""
    c = config(network=NetworkConfig(filters=4, noise_map=True))
    first = simulate_step(c, torch.Generator().manual_seed(c.seed)).read_noise_TYX
    assert first is not None
    encode, shown, gradients = LocNet.encode, [], []

    def watch(network: LocNet, frames: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        assert noise is not None
        shown.append(noise)
        return encode(network, frames, noise)

    def look(step: int, steps: int, losses: Losses) -> None:
        weight = networks[0].frame_net.encoder[0][0].weight
        gradients.append(weight.grad[:, 1].abs().max().item())

    networks: list[LocNet] = []
    initialise = LocNet._initialise
    monkeypatch.setattr(LocNet, "_initialise", lambda self: (networks.append(self), initialise(self))[1])
    monkeypatch.setattr(LocNet, "encode", watch)
    train(c, tmp_path, validator=quick, progress=look)
    assert len(shown) == len(gradients) == 12
    torch.testing.assert_close(shown[0], first / choose_scaling(c).noise_scale)
    assert min(gradients) > 0
    network, frames = networks[0].eval(), torch.zeros_like(first)
    one, other = (encode(network, frames, noise) for noise in (shown[0], shown[0].flip(2)))
    assert (one - other).abs().max() > 0.01


def test_a_noise_map_needs_a_camera_that_has_one() -> None:
    emccd = EmccdCamera(baseline_adu=100.0, e_per_adu=45.0, em_gain=300.0, read_sigma_e=74.4)
    c = config()
    with pytest.raises(ConfigError, match="noise_map needs an sCMOS camera"):
        c.replace(simulation=c.simulation.replace(camera=emccd), network=c.network.replace(noise_map=True))


def test_scaling_follows_the_ranges_of_the_simulation() -> None:
    scaling = choose_scaling(config(variety=None))
    assert scaling.z_nm == pytest.approx(1.2 * 500), "a symmetric scale covers the whole z range"
    assert scaling.photons == 2000 + 5 * 500
    assert scaling.bg == pytest.approx(1.2 * 22)
    assert scaling.input_offset == 15
    assert scaling.input_scale == 40
    assert choose_scaling(config(flat=True)).z_nm == 1.0
    assert scaling.noise_scale == 1.0
    assert choose_scaling(config(network=NetworkConfig(noise_map=True))).noise_scale == pytest.approx(15**0.5)
    texture = BackgroundConfig(low=8.0, high=22.0, texture=PerlinTexture(feature_nm=1000.0, contrast=0.5))
    c = config(simulation=config().simulation.replace(background=texture), variety=None)
    assert choose_scaling(c).bg == pytest.approx(1.2 * 33), "the scale covers the brightest pixel"
    assert choose_scaling(c).input_offset == 15
    assert bundle_info(c, choose_scaling(c)).bg_range == (4.0, 33.0)
    assert bundle_info(c, choose_scaling(c)).photons_range == (1000.0, 3000.0)


def test_scaling_covers_the_variety_of_training() -> None:
    scaling = choose_scaling(config())
    assert scaling.photons == pytest.approx(1.2 * 2 * 3000), "twice the brightest expected"
    assert scaling.bg == pytest.approx(1.2 * 1.5 * 22)
    assert (scaling.input_offset, scaling.input_scale) == (15, 40)


def test_a_training_of_an_earlier_version_is_resumed(uninterrupted: Path, tmp_path: Path) -> None:
    """Its configuration, checkpoint and curve lack fields that were added later."""
    train(config(), tmp_path, validator=quick, stop_after=5)
    old = yaml.safe_load((tmp_path / "training.yaml").read_text())
    for name in ("schedule", "early_stop", "restart"):
        del old[name]
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(old))
    record = json.loads((tmp_path / "checkpoint.json").read_text())
    for name in ("restarts", "best", "converged"):
        del record[name]
    (tmp_path / "checkpoint.json").write_text(json.dumps(record))
    (tmp_path / "curve.csv").write_text("step,seconds,loss,jaccard\n4,1.0,9.5,0.25\n")
    result = train(config(), tmp_path, validator=quick)
    assert result is not None
    check_same_training(uninterrupted, tmp_path)
    curve = load_bundle(result.bundle).info.training["curve"]
    assert (curve[0]["loss"], curve[0]["zscore_z"]) == (9.5, None)
    assert curve[1]["zscore_z"] == 1.25


@pytest.mark.gpu
def test_training_on_a_gpu_can_be_resumed(tmp_path: Path) -> None:
    device = torch.device("cuda")
    train(config(), tmp_path, validator=build_validator(config()), device=device, stop_after=5)
    result = train(config(), tmp_path, validator=build_validator(config()), device=device)
    assert result is not None
    assert result.steps == 12


def test_the_bundle_holds_averaged_weights(tmp_path: Path) -> None:
    result = train(config(schedule="step", learning_rate=0.02), tmp_path, validator=quick)
    assert result is not None
    kept, last = load_bundle(result.bundle).network.state_dict(), final_state(tmp_path)
    for name, value in kept.items():
        torch.testing.assert_close(value, last[f"average.{name}"], atol=1e-3, rtol=1e-3)  # bundles store 16 bits
    assert any((value - last[f"network.{name}"]).abs().max() > 0.01 for name, value in kept.items())


def test_the_weight_average_follows_its_recursion() -> None:
    """The recursion is a <- k a + (1 - k) w with k = min(decay, (1 + n) / (10 + n)), so that early weights fade."""
    network = LocNet(NetworkConfig(filters=4))
    first = {name: value.clone() for name, value in network.state_dict().items()}
    average = WeightAverage(network, 0.3)
    expected = 0.0
    for step in range(1, 9):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(1.0)
        average.update(network)
        keep = min(0.3, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(value, first[name] + expected, atol=1e-4, rtol=1e-4)
    assert average.steps == 8


@pytest.mark.parametrize(("channels", "out"), [(1, 24), (24, 24), (24, 1)])
def test_exact_convolutions_give_equal_outputs_in_training_and_evaluation(channels: int, out: int) -> None:
    layer, x = ExactConv2d(channels, out, 3, padding=1), torch.randn(2, channels, 12, 16)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))
