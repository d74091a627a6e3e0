"""Distillation from another model: on every batch the student also learns from the teacher's output maps.

The student takes the teacher's scales, so that both speak of the same units. Networks may differ in variant and size,
which is what it is for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lls_decode.config import Scaling, TrainingConfig
from lls_decode.errors import BundleError
from lls_decode.model.bundle import load_bundle
from lls_decode.model.info import bundle_digest
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.training.origin.parent import check_reach, own_scaling

_ALIKE = ("context", "noise_map", "predict_z")


@dataclass(frozen=True)
class Teacher:
    """A trained model that a training learns from."""

    name: str
    digest: str
    scaling: Scaling
    """Its own, with the sigma factors 1."""
    network: LocNet

    def to_dict(self) -> dict[str, Any]:
        """Which model it is."""
        return {"name": self.name, "digest": self.digest}

    @torch.no_grad()
    def maps(self, frames_TYX: Tensor, noise_TYX: Tensor | None, windows_N3: Tensor) -> OutputMaps:
        """What it sees in scaled frames."""
        return self.network.decode(self.network.encode(frames_TYX, noise_TYX), windows_N3)


def load_teacher(path: str | Path, config: TrainingConfig, device: torch.device) -> Teacher:
    """Read the bundle to learn from.

    Raises
    ------
    BundleError
        It is unreadable, looks at other frames than the student, or cannot express what the training simulates.
    """
    bundle = load_bundle(path, device=device)
    for name in _ALIKE:
        found, wanted = getattr(bundle.info.network, name), getattr(config.network, name)
        if found != wanted:
            raise BundleError(
                f"--teacher {path} has network.{name} {found}, the training has {wanted}; set network.{name} to "
                f"{found}, or take another teacher."
            )
    if bundle.info.pixel_size != config.simulation.pixel_size:
        theirs, ours = bundle.info.pixel_size, config.simulation.pixel_size
        raise BundleError(
            f"--teacher {path} was trained for pixels of {theirs.x_nm:g} x {theirs.y_nm:g} nm, the training has "
            f"{ours.x_nm:g} x {ours.y_nm:g} nm; take a teacher for this microscope."
        )
    scaling = own_scaling(bundle)
    check_reach(f"--teacher {path}", scaling, config)
    return Teacher(bundle.info.name, bundle_digest(path), scaling, bundle.network)
