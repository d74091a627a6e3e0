"""One training step: simulate a batch of new frames, compute the losses, and update the weights."""

from collections.abc import Callable

import torch

from lls_decode.config import Scaling, TrainingConfig
from lls_decode.errors import BundleError, CollapseError
from lls_decode.model.network import OutputMaps
from lls_decode.simulate import Targets
from lls_decode.training.checkpoint import State
from lls_decode.training.distill import distillation_loss
from lls_decode.training.loss import Losses, decode_loss
from lls_decode.training.matching import matching_loss
from lls_decode.training.origin import Parent, Teacher
from lls_decode.training.precision import lowers_precision
from lls_decode.training.record import choose_scaling
from lls_decode.training.schedule import is_rising, rates, set_rates


def network_units(config: TrainingConfig, parent: Parent | None, teacher: Teacher | None) -> Scaling:
    """Return the units of the network: those of the parent or the teacher if there is one, else chosen ones."""
    if parent is not None and teacher is not None and parent.scaling != teacher.scaling:
        raise BundleError(
            f"--init-from {parent.name} and --teacher {teacher.name} have different scales; start from a model that "
            "was distilled from this teacher, or omit one of the two."
        )
    return next((model.scaling for model in (parent, teacher) if model is not None), choose_scaling(config))


def loss_now(config: TrainingConfig, step: int, seconds: float) -> Callable[[OutputMaps, Targets], Losses]:
    """Return the loss of the next step, after ``step`` steps and ``seconds`` seconds.

    A network that localizes nothing yet gives all pixels near an emitter the same share of it, and may need hundreds of
    steps to leave this state. The loss of the paper leads out of it sooner, so every training begins with it.
    """
    if config.loss == "matching" and not is_rising(config, step, seconds):
        return matching_loss
    return decode_loss


def take_step(config: TrainingConfig, scaling: Scaling, state: State, teacher: Teacher | None) -> Losses:
    """Simulate a batch, update the weights and return the losses of the batch."""
    batch = state.next_batch()
    network = state.network.train()
    inputs = batch.inputs(scaling, noise_map=config.network.noise_map)
    device = batch.photons_TYX.device
    lower = lowers_precision(config, device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=lower):
        maps = network.decode(network.encode(*inputs), batch.windows_N3)
        wanted = None if teacher is None else teacher.maps(*inputs, batch.windows_N3)
    losses = loss_now(config, state.step, state.seconds)(maps, batch.targets(scaling, config.simulation))
    if wanted is not None:
        losses += distillation_loss(maps, wanted)
    if not torch.isfinite(losses.total):
        raise CollapseError(
            f"The training loss is {losses.total.item()} at step {state.step}; lower learning_rate or gradient_norm."
        )
    state.optimizer.zero_grad(set_to_none=True)
    losses.total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
    set_rates(state.optimizer, rates(config, state.step, state.seconds))
    state.optimizer.step()
    if state.average is not None:
        state.average.update(network)
    state.step += 1
    return Losses(losses.count.detach(), losses.localization.detach(), losses.background.detach())
