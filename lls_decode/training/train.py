"""Training loop: simulate, step, validate, checkpoint; resumable after an interruption at any moment.

A training folder holds ``training.yaml`` (the configuration), ``parent.json`` (for fine-tuning), ``teacher.json`` (for
distillation), ``checkpoint.json`` with ``checkpoint-*.safetensors`` (weights, optimizer, random state), ``curve.csv``,
``curve.png`` and, at the end, ``NAME.lls``.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from lls_decode.config import DetectionThresholds, Scaling, TrainingConfig
from lls_decode.errors import CollapseError
from lls_decode.model.bundle import save_bundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.models import Given, as_config, find_bundle
from lls_decode.training.checkpoint import Best, State, new_state, restore_state, save_state
from lls_decode.training.curve import Row, add_row, curve_row, read_curve
from lls_decode.training.heartbeat import Heartbeat
from lls_decode.training.loss import Losses
from lls_decode.training.origin import (
    Parent,
    Teacher,
    check_psf,
    claim_folder,
    load_parent,
    load_teacher,
    warn_of_sparse,
)
from lls_decode.training.precision import log_precision
from lls_decode.training.record import bundle_info
from lls_decode.training.schedule import rates, share_done
from lls_decode.training.step import network_units, take_step

_EARLY, _LEAST_EARLY = 5, 50
"""Fraction (one fifth) of ``validate_every`` after which the first validation comes, and the fewest steps before it."""

logger = logging.getLogger(__name__)


class Scored(Protocol):
    """Result of a validation."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""


Validator = Callable[[LocNet, BundleInfo], Scored]
Calibrator = Callable[[LocNet, BundleInfo], Scaling]
ThresholdChooser = Callable[[LocNet, BundleInfo], DetectionThresholds | None]


@dataclass(frozen=True)
class TrainingResult:
    """Result of a finished training."""

    bundle: Path
    steps: int
    accuracy: dict[str, Any]
    detection: DetectionThresholds | None
    """Chosen thresholds, with the accuracy by threshold; None: not requested, or the network finds nothing."""


def train(
    config: TrainingConfig | Given,
    out: str | Path,
    *,
    validator: Validator,
    calibrator: Calibrator | None = None,
    choose_thresholds: ThresholdChooser | None = None,
    init_from: str | Path | None = None,
    teacher: str | Path | None = None,
    device: torch.device | None = None,
    progress: Callable[[int, int, Losses], None] | None = None,
    stop_after: int | None = None,
    stop_after_s: float | None = None,
) -> TrainingResult | None:
    """Train a network, or resume an interrupted training in the same folder.

    Parameters
    ----------
    config
        Configuration of the training: a `TrainingConfig`, a dictionary (nested or with dotted keys), the path of a YAML
        file, or the name of a shipped one. It must match the training in the folder, if there is one.
    out
        Training folder.
    validator
        Function that scores a network (see `localize.build_validator`).
    calibrator
        Function that measures the sigma factors of the network at the end (see `localize.build_calibrator`); None: the
        factors stay 1.
    choose_thresholds
        Function that chooses the detection thresholds at the end (see `localize.build_threshold_chooser`); None: the
        bundle has no thresholds.
    init_from
        Bundle whose weights and scales the training starts from (fine-tuning); None: random weights.
    teacher
        Bundle whose output maps the network also learns, and whose scales it uses (distillation).
    progress
        Called after every step with the step, the number of steps and the losses.
    stop_after, stop_after_s
        Write a checkpoint, stop and return None after this many steps or seconds of this call.

    Raises
    ------
    RunConflictError
        The folder holds a training with another configuration, or with another parent or teacher.
    ConfigError, BundleError
        The PSF does not cover the configured range, or ``init_from`` or ``teacher`` does not fit the configuration.
    CollapseError
        The network learns nothing, and no restart is left.
    """
    config, out, device = as_config(TrainingConfig, config), Path(out), device or torch.device("cpu")
    check_psf(config)
    parent = None if init_from is None else load_parent(find_bundle(init_from), config)
    master = None if teacher is None else load_teacher(find_bundle(teacher), config, device)
    scaling = network_units(config, parent, master)
    claim_folder(out, config, parent, master)
    warn_of_sparse(config)
    state = new_state(config, device, parent=parent, restarts=[])
    restore_state(state, out)
    if state.step:
        logger.info("resuming at step %d of %d", state.step, config.steps)
    elif parent is not None:
        for change in parent.changes:
            logger.info("%s", change)
    log_precision(config, device)
    entered, made = time.monotonic(), 0
    began = entered - state.seconds
    heartbeat = Heartbeat(config)
    while not _is_over(config, state):
        try:
            losses = take_step(config, scaling, state, master)
            made += 1
            if progress is not None:
                progress(state.step, config.steps, losses)
            state.seconds = time.monotonic() - began
            heartbeat.beat(state.step, state.seconds, losses)
            _check_loss(config, state.step, losses)
            if _is_over(config, state) or _is_validated(config, state.step):
                _validate(out, config, scaling, state, losses, validator)
        except CollapseError as collapse:
            state = _begin_again(config, device, parent, state, collapse)
        stopping = (stop_after is not None and made >= stop_after) or (
            stop_after_s is not None and time.monotonic() - entered >= stop_after_s
        )
        if _is_over(config, state) or stopping or state.step % config.checkpoint_every == 0:
            save_state(state, out)
        if stopping and not _is_over(config, state):
            return None
    return _finish(out, config, scaling, state, parent, master, validator, calibrator, choose_thresholds)


def _is_over(config: TrainingConfig, state: State) -> bool:
    return state.converged or share_done(config, state.step, state.seconds) >= 1


def _is_validated(config: TrainingConfig, step: int) -> bool:
    """Return whether a validation is due: at the configured steps, and once early, to reveal mistakes soon."""
    early = config.validate_every // _EARLY
    return step % config.validate_every == 0 or (step == early and early >= _LEAST_EARLY)


def _check_loss(config: TrainingConfig, step: int, losses: Losses) -> None:
    restart = config.restart
    if restart is None or step != restart.after_steps:
        return
    found = (losses.count + losses.localization).item()
    if found > restart.loss_above:
        raise CollapseError(
            f"The training loss is {found:.3g} at step {step}, above {restart.loss_above:g} (restart.loss_above): the "
            "network learns nothing; lower learning_rate or gradient_norm."
        )


def _validate(
    out: Path, config: TrainingConfig, scaling: Scaling, state: State, losses: Losses, validator: Validator
) -> None:
    """Validate, log the accuracy and add it to the curve; detect the best network, convergence and collapse."""
    accuracy = validator(state.model.eval(), bundle_info(config, scaling)).to_dict()
    row = curve_row(state.step, state.seconds, rates(config, state.step, state.seconds).learning_rate, losses, accuracy)
    logger.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in row.items()))
    curve = add_row(out, row)
    if config.restart is not None and state.step >= config.restart.after_steps and _is_blind(accuracy):
        raise CollapseError(
            f"The network finds none of {accuracy['num_truth']} emitters at step {state.step}; lower learning_rate or "
            "gradient_norm."
        )
    if state.best is not None and row["efficiency"] > state.best.efficiency:
        weights = {name: value.detach().clone() for name, value in state.model.state_dict().items()}
        state.best = Best(row["efficiency"], state.step, weights)
    state.converged = _has_converged(config, curve)


def _is_blind(accuracy: dict[str, Any]) -> bool:
    return bool(accuracy["num_truth"] and not accuracy["num_found"])


def _has_converged(config: TrainingConfig, curve: list[Row]) -> bool:
    if config.early_stop is None:
        return False
    recent = config.early_stop.validations
    efficiency = [-math.inf if math.isnan(row["efficiency"]) else row["efficiency"] for row in curve]
    return len(efficiency) > recent and max(efficiency[-recent:]) <= max(efficiency[:-recent]) + config.early_stop.gain


def _begin_again(
    config: TrainingConfig, device: torch.device, parent: Parent | None, state: State, collapse: CollapseError
) -> State:
    """Return a new state with the next seed; raise the collapse if no restart is left."""
    if config.restart is None:
        raise collapse
    seed = config.seed + len(state.restarts)
    restarts = [*state.restarts, {"seed": seed, "step": state.step, "reason": str(collapse)}]
    if len(restarts) > config.restart.times:
        seeds = ", ".join(str(attempt["seed"]) for attempt in restarts)
        raise CollapseError(f"The training collapsed with each of the seeds {seeds}; last error: {collapse}") from None
    logger.warning("%s Restarting with seed %d.", collapse, seed + 1)
    again = new_state(config, device, parent=parent, restarts=restarts)
    again.seconds = state.seconds
    return again


def _finish(
    out: Path,
    config: TrainingConfig,
    scaling: Scaling,
    state: State,
    parent: Parent | None,
    teacher: Teacher | None,
    validator: Validator,
    calibrator: Calibrator | None,
    choose_thresholds: ThresholdChooser | None,
) -> TrainingResult:
    """Choose thresholds, measure sigma factors, validate with both, and write the bundle."""
    provenance: dict[str, Any] = {"seed": config.seed + len(state.restarts), "restarts": state.restarts}
    if state.best is not None and state.best.weights:
        state.model.load_state_dict(state.best.weights)
        provenance["weights_of_step"] = state.best.step
    if parent is not None:
        provenance["parent"] = parent.to_dict()
    if teacher is not None:
        provenance["teacher"] = teacher.to_dict()
    network = state.model.eval()
    info = bundle_info(
        config,
        scaling,
        curve=read_curve(out),
        steps=state.step,
        seconds=state.seconds,
        licence=BundleInfo.model_fields["licence"].default if parent is None else parent.licence,
        provenance=provenance,
    )
    if choose_thresholds is not None:
        info = info.replace(detection=choose_thresholds(network, info))
    if calibrator is not None:
        info = info.replace(scaling=calibrator(network, info))
    accuracy = validator(network, info).to_dict()
    info = info.replace(training=info.training | {"accuracy": accuracy})
    path = out / f"{config.name}.lls"
    save_bundle(path, network, info, dtype=torch.float16)
    return TrainingResult(path, state.step, accuracy, info.detection)
