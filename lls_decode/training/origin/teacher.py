"""Distillation: on every batch, the student network also learns from the output maps of another model, the teacher.

The student uses the teacher's scales, so that both have the same units. The two networks may differ in variant and
size, so that a small network can learn from a large one.
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
    """Trained model whose output maps a training learns."""

    name: str
    digest: str
    scaling: Scaling
    """Scales of the model, with sigma factors of 1."""
    network: LocNet

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the digest of the model."""
        return {"name": self.name, "digest": self.digest}

    @torch.no_grad()
    def maps(self, frames_TYX: Tensor, noise_TYX: Tensor | None, windows_N3: Tensor) -> OutputMaps:
        """Return the teacher's output maps of scaled frames."""
        return self.network.decode(self.network.encode(frames_TYX, noise_TYX), windows_N3)


def load_teacher(path: str | Path, config: TrainingConfig, device: torch.device) -> Teacher:
    """Read the bundle of a teacher.

    Raises
    ------
    BundleError
        The bundle is unreadable, has other inputs than the student, or its scales do not cover the simulation.
    """
    bundle = load_bundle(path, device=device)
    for name in _ALIKE:
        found, wanted = getattr(bundle.info.network, name), getattr(config.network, name)
        if found != wanted:
            raise BundleError(
                f"--teacher {path} has network.{name} {found}, but the training has {wanted}; set network.{name} to "
                f"{found}, or use another teacher."
            )
    if bundle.info.pixel_size != config.simulation.pixel_size:
        theirs, ours = bundle.info.pixel_size, config.simulation.pixel_size
        raise BundleError(
            f"--teacher {path} was trained for pixels of {theirs.x_nm:g} x {theirs.y_nm:g} nm, but the training has "
            f"{ours.x_nm:g} x {ours.y_nm:g} nm; use a teacher for this microscope."
        )
    scaling = own_scaling(bundle)
    check_reach(f"--teacher {path}", scaling, config)
    return Teacher(bundle.info.name, bundle_digest(path), scaling, bundle.network)
