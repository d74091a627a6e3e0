"""The training loop: simulate, step, validate, checkpoint; interrupted at any moment it goes on where it was.

A run folder holds ``training.yaml`` (the configuration), ``checkpoint.safetensors`` with ``checkpoint.json`` (weights,
optimiser, random state), ``curve.csv`` and at the end ``NAME.lls``.
"""

import csv
import json
import logging
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file

from lls_decode import __version__
from lls_decode.config import GaussianPsf, Scaling, ScmosChip, TrainingConfig
from lls_decode.errors import ConfigError, LlsDecodeError, RunConflictError
from lls_decode.model.bundle import save_bundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.simulate import TrainingBatch, simulate_batch
from lls_decode.training.ahead import batch_source
from lls_decode.training.loss import Losses, decode_loss

_CURVE_METRICS = ("jaccard", "rmse_lateral_nm", "rmse_axial_nm", "efficiency")

logger = logging.getLogger(__name__)


class Scored(Protocol):
    """The result of a validation."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""


Validator = Callable[[LocNet, BundleInfo], Scored]


@dataclass(frozen=True)
class TrainingResult:
    """A finished training."""

    bundle: Path
    steps: int
    accuracy: dict[str, Any]


@dataclass
class _State:
    """What changes while training."""

    network: LocNet
    optimizer: torch.optim.AdamW
    schedule: torch.optim.lr_scheduler.OneCycleLR
    generator: torch.Generator
    next_batch: Callable[[], TrainingBatch]
    step: int = 0
    seconds: float = 0.0


def train(
    config: TrainingConfig,
    out: str | Path,
    *,
    validator: Validator,
    device: torch.device | None = None,
    progress: Callable[[int, int, Losses], None] | None = None,
    stop_after: int | None = None,
    stop_after_s: float | None = None,
) -> TrainingResult | None:
    """Train a network, or go on with one that was interrupted in the same folder.

    Parameters
    ----------
    config
        The whole training; a folder that holds another one is refused.
    out
        Run folder.
    validator
        Scores a network (see `localize.build_validator`).
    progress
        Called after every step with the step, the number of steps and the losses.
    stop_after, stop_after_s
        Stop with a checkpoint after this many steps, or seconds, of this call; the result is then None.

    Raises
    ------
    RunConflictError
        The folder holds a training with another configuration.
    LlsDecodeError
        The loss is no longer finite.
    """
    out = Path(out)
    _claim(out, config)
    device = device or torch.device("cpu")
    scaling = choose_scaling(config)
    state = _new_state(config, device)
    _restore(state, out)
    if state.step:
        logger.info("going on at step %d of %d", state.step, config.steps)
    entered, first = time.monotonic(), state.step
    began = entered - state.seconds
    accuracy: dict[str, Any] | None = None
    while state.step < config.steps:
        losses = _step(config, scaling, state)
        if progress is not None:
            progress(state.step, config.steps, losses)
        finished = state.step == config.steps
        now = time.monotonic()
        stopping = (stop_after is not None and state.step - first >= stop_after) or (
            stop_after_s is not None and now - entered >= stop_after_s
        )
        state.seconds = now - began
        if finished or state.step % config.validate_every == 0:
            accuracy = _log_curve(out, config, scaling, state, losses, validator)
        if finished or stopping or state.step % config.checkpoint_every == 0:
            _checkpoint(state, out)
        if stopping and not finished:
            return None
    if accuracy is None:  # all steps were done before this call
        accuracy = validator(state.network.eval(), bundle_info(config, scaling)).to_dict()
    info = bundle_info(
        config, scaling, accuracy=accuracy, curve=_read_curve(out), steps=state.step, seconds=state.seconds
    )
    path = out / f"{config.name}.lls"
    save_bundle(path, state.network, info, dtype=torch.float16)
    return TrainingResult(path, state.step, accuracy)


def choose_scaling(config: TrainingConfig) -> Scaling:
    """Network units from the simulated ranges; symmetric in z, so that no part of the range is out of reach."""
    s = config.simulation
    reach_nm = max(abs(s.emitters.z_range_nm[0]), abs(s.emitters.z_range_nm[1]))
    return Scaling(
        input_scale=max(s.emitters.photons_mean / 50.0, 1.0),
        input_offset=(s.background.low + s.background.high) / 2,
        photons=s.emitters.photons_mean + 5 * s.emitters.photons_sd,
        z_nm=1.2 * reach_nm if reach_nm else 1.0,
        bg=max(1.2 * s.background.extremes[1], 1.0),
        # against the shot noise of the background; read noise near 0 is that of no pixel, and of the padding
        noise_scale=max(math.sqrt((s.background.low + s.background.high) / 2), 1.0)
        if config.network.noise_map
        else 1.0,
    )


def bundle_info(
    config: TrainingConfig,
    scaling: Scaling,
    *,
    accuracy: dict[str, Any] | None = None,
    curve: list[dict[str, float]] | None = None,
    steps: int = 0,
    seconds: float = 0.0,
) -> BundleInfo:
    """The record of the bundle that a training makes."""
    s = config.simulation
    mean, sd = s.emitters.photons_mean, s.emitters.photons_sd
    return BundleInfo(
        name=config.name,
        network=config.network,
        scaling=scaling,
        pixel_size=s.pixel_size,
        camera=s.camera.nominal() if isinstance(s.camera, ScmosChip) else s.camera,
        psf=s.psf,
        geometry=s.geometry,
        z_range_nm=(0.0, 0.0) if isinstance(s.psf, GaussianPsf) else s.emitters.z_range_nm,
        photons_range=(max(mean - 2 * sd, 0.0), mean + 2 * sd),
        bg_range=s.background.extremes,
        training={
            "configuration": config.to_dict(),
            "seed": config.seed,
            "steps": steps,
            "target_frames": steps * config.sequences * config.sequence_frames,
            "seconds": round(seconds),
            "accuracy": accuracy or {},
            "curve": curve or [],
            "software": {"lls_decode": __version__, "torch": torch.__version__, "python": platform.python_version()},
        },
    )


def _new_state(config: TrainingConfig, device: torch.device) -> _State:
    torch.manual_seed(config.seed)
    network = LocNet(config.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.learning_rate, total_steps=config.steps + 1, pct_start=0.1
    )
    generator = torch.Generator(device=device).manual_seed(config.seed)
    return _State(network, optimizer, schedule, generator, batch_source(partial(simulate_step, config), generator))


def _step(config: TrainingConfig, scaling: Scaling, state: _State) -> Losses:
    batch = state.next_batch()
    network = state.network.train()
    inputs = batch.inputs(scaling, noise_map=config.network.noise_map)
    lower = config.precision == "bfloat16"
    with torch.autocast(batch.photons_TYX.device.type, dtype=torch.bfloat16, enabled=lower):
        maps = network.decode(network.encode(*inputs), batch.windows_N3)
    losses = decode_loss(maps, batch.targets(scaling, config.simulation))
    if not torch.isfinite(losses.total):
        raise LlsDecodeError(
            f"The training loss is {losses.total.item()} at step {state.step}; lower learning_rate or gradient_norm."
        )
    state.optimizer.zero_grad(set_to_none=True)
    losses.total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
    state.optimizer.step()
    state.schedule.step()
    state.step += 1
    return Losses(losses.count.detach(), losses.localization.detach(), losses.background.detach())


def simulate_step(config: TrainingConfig, generator: torch.Generator) -> TrainingBatch:
    """The fresh frames of one training step."""
    return simulate_batch(
        config.simulation,
        context=config.network.context,
        num_sequences=config.sequences,
        sequence_frames=config.sequence_frames,
        height=config.crop_px,
        width=config.crop_px,
        generator=generator,
    )


def _claim(out: Path, config: TrainingConfig) -> None:
    """Make the folder this training's, or refuse."""
    path = out / "training.yaml"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(config.to_yaml())
        elif path.read_text() != config.to_yaml():
            raise RunConflictError(
                f"{out} holds a training with another configuration ({path}); give another --out, or delete the folder."
            )
    except OSError as error:
        raise ConfigError(f"Training folder {out} cannot be used ({error.strerror}); give another --out.") from error


def _checkpoint(state: _State, out: Path) -> None:
    """Write weights, optimiser and random state aside, then rename; the JSON file, renamed last, names the tensors."""
    tensors = {f"network.{name}": value.contiguous() for name, value in state.network.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in values.items()}
    tensors["generator"] = state.generator.get_state()
    record = {
        "step": state.step,
        "seconds": state.seconds,
        "tensors": f"checkpoint-{state.step}.safetensors",
        "optimizer_groups": state.optimizer.state_dict()["param_groups"],
        "schedule": {k: v for k, v in state.schedule.state_dict().items() if isinstance(v, int | float | list)},
    }
    save_file(tensors, out / record["tensors"])
    aside = out / ".checkpoint.json"
    aside.write_text(json.dumps(record))
    aside.replace(out / "checkpoint.json")
    for old in out.glob("checkpoint-*.safetensors"):
        if old.name != record["tensors"]:
            old.unlink()


def _restore(state: _State, out: Path) -> None:
    path = out / "checkpoint.json"
    if not path.exists():
        return
    record = json.loads(path.read_text())
    tensors = load_file(out / record["tensors"])
    state.network.load_state_dict(
        {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    )
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value
    state.optimizer.load_state_dict({"state": moments, "param_groups": record["optimizer_groups"]})
    state.schedule.load_state_dict(record["schedule"])
    state.generator.set_state(tensors["generator"])
    state.step, state.seconds = record["step"], record["seconds"]


def _log_curve(
    out: Path, config: TrainingConfig, scaling: Scaling, state: _State, losses: Losses, validator: Validator
) -> dict[str, Any]:
    """Validate, and put the accuracy into the log and the curve; gives it back."""
    accuracy = validator(state.network.eval(), bundle_info(config, scaling)).to_dict()
    row = {
        "step": state.step,
        "seconds": round(state.seconds, 1),
        "loss": losses.total.item(),
        "count_loss": losses.count.item(),
        "localization_loss": losses.localization.item(),
        **{name: math.nan if accuracy[name] is None else accuracy[name] for name in _CURVE_METRICS},
    }
    logger.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
    rows = [old for old in _read_curve(out) if old["step"] < state.step]
    with (out / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerows([*rows, row])
    return accuracy


def _read_curve(out: Path) -> list[dict[str, float]]:
    path = out / "curve.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
