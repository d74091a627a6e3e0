"""State of a training, and checkpoints from which an interrupted training resumes."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from lls_decode.config import TrainingConfig
from lls_decode.documents import read_json
from lls_decode.errors import ConfigError, read_from
from lls_decode.model.network import LocNet
from lls_decode.simulate import TrainingBatch
from lls_decode.system import remove
from lls_decode.table import remove_leftovers, written_aside
from lls_decode.training.ahead import batch_source, simulate_step
from lls_decode.training.average import WeightAverage
from lls_decode.training.origin.parent import Parent


@dataclass
class Best:
    """Best validation so far, with the weights at that step."""

    efficiency: float = -math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class State:
    """State of a training: everything that changes from step to step."""

    network: LocNet
    optimizer: torch.optim.AdamW
    generator: torch.Generator
    next_batch: Callable[[], TrainingBatch]
    average: WeightAverage | None = None
    """Average of the weights; None: the model has the weights of the last step."""
    step: int = 0
    seconds: float = 0.0
    restarts: list[dict[str, Any]] = field(default_factory=list)
    """Seed, step and reason of each collapsed attempt."""
    best: Best | None = None
    """Best validation so far; only for trainings that may stop early."""
    converged: bool = False
    """Whether the training has converged and stops early."""

    @property
    def model(self) -> LocNet:
        """Network to validate and to save: the average if there is one."""
        return self.network if self.average is None else self.average.network


def new_state(
    config: TrainingConfig, device: torch.device, *, parent: Parent | None = None, restarts: list[dict[str, Any]]
) -> State:
    """Return the initial state of an attempt: random numbers from its seed, weights from its seed or the parent."""
    seed = config.seed + len(restarts)
    torch.manual_seed(seed)
    network = LocNet(config.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if parent is not None:
        network.load_state_dict(parent.weights)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    generator = torch.Generator(device=device).manual_seed(seed)
    return State(
        network,
        optimizer,
        generator,
        batch_source(partial(simulate_step, config), generator),
        average=WeightAverage(network, config.average_decay) if config.average_decay else None,
        restarts=restarts,
        best=None if config.early_stop is None else Best(),
    )


def save_state(state: State, out: Path) -> None:
    """Write a checkpoint: the tensors, then atomically the JSON file that names the file of the tensors."""
    tensors = {f"network.{name}": value.contiguous() for name, value in state.network.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in values.items()}
    if state.average is not None:
        tensors |= {f"average.{name}": value.contiguous() for name, value in state.average.network.state_dict().items()}
    if state.best is not None:
        tensors |= {f"best.{name}": value.contiguous() for name, value in state.best.weights.items()}
    tensors["generator"] = state.generator.get_state()
    record = {
        "step": state.step,
        "seconds": state.seconds,
        "tensors": f"checkpoint-{len(state.restarts)}-{state.step}.safetensors",
        "optimizer_groups": state.optimizer.state_dict()["param_groups"],
        "restarts": state.restarts,
        "best": None if state.best is None else [state.best.efficiency, state.best.step],
        "converged": state.converged,
    }
    with written_aside(out / record["tensors"], own_folder=True) as aside:
        aside.write_bytes(save(tensors))
    with written_aside(out / "checkpoint.json", own_folder=True) as aside:
        aside.write_text(json.dumps(record), encoding="utf-8")
    remove_leftovers(out)
    for old in out.glob("checkpoint-*.safetensors"):
        if old.name != record["tensors"]:
            remove(old)


def restore_state(state: State, out: Path) -> None:
    """Restore the state from the checkpoint of a folder, if there is one.

    Raises
    ------
    ConfigError
        The checkpoint is damaged.
    """
    path = out / "checkpoint.json"
    if path.exists():
        with read_from(path, ConfigError, "restore it and its .safetensors file, or delete it to begin again"):
            _restore(state, path)


def _restore(state: State, path: Path) -> None:
    record = read_json(path)
    # clone the tensors: the optimizer keeps them, and Windows cannot delete a memory-mapped file
    tensors = {name: tensor.clone() for name, tensor in load_file(path.parent / record["tensors"]).items()}
    state.network.load_state_dict(_under("network.", tensors))
    if state.average is not None:
        # folders of earlier versions have no average: start it with the weights of the checkpoint
        averaged = _under("average.", tensors)
        state.average.network.load_state_dict(averaged or state.network.state_dict())
        state.average.steps = record["step"] if averaged else 0
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _under("optimizer.", tensors).items():
        index, name = key.split(".")
        moments.setdefault(int(index), {})[name] = value
    state.optimizer.load_state_dict({"state": moments, "param_groups": record["optimizer_groups"]})
    state.generator.set_state(tensors["generator"])
    state.step, state.seconds = record["step"], record["seconds"]
    state.restarts, state.converged = record.get("restarts", []), record.get("converged", False)
    if state.best is not None:
        efficiency, step = record["best"]
        state.best = Best(efficiency, step, _under("best.", tensors))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
