"""Validation of a network on simulated frames not used in training, by the same detection and scoring as in runs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lls_decode.config import ComputeConfig, ModelRule, ScmosCamera, TrainingConfig
from lls_decode.emitters import Emitters
from lls_decode.evaluate import Score, score
from lls_decode.localize.detect import Detections
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.place import to_emitters
from lls_decode.model.bundle import ModelBundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.optics import CameraModel
from lls_decode.simulate import TrainingBatch, simulate_batch

FIELD_PX = 64
_SEED = 987_654_321
"""Seed of the validation frames, which are the same for every network; no training uses it."""
_MOST_VALIDATIONS = 4


Validator = Callable[[LocNet, BundleInfo], Score]
Finder = Callable[[LocNet, BundleInfo], Emitters]


def build_validator(config: TrainingConfig, *, seed: int = _SEED) -> Validator:
    """Simulate the validation frames of a training configuration; return a function that scores a network on them.

    Frames are 64 px wide (training crops are smaller). All targets count, including those at the border.
    """
    truth, find = build_finder(config, seed=seed)
    return lambda network, info: score(truth, find(network, info))


def build_finder(config: TrainingConfig, *, seed: int) -> tuple[Emitters, Finder]:
    """Simulate frames of a training configuration; return their targets, and a function that finds emitters in them.

    The function uses the rule ``model``: the thresholds recorded in the bundle, or else the published ones.
    """
    batch = simulate_validation(config, seed=seed)
    truth = true_emitters(batch, with_z=config.network.predict_z)

    def find(network: LocNet, info: BundleInfo) -> Emitters:
        found = find_in_batch(network, info, batch, config.sequence_frames)
        return to_emitters(found, info.scaling, info.pixel_size)

    return truth, find


def find_in_batch(network: LocNet, info: BundleInfo, batch: TrainingBatch, sequence_frames: int) -> Detections:
    """Return the detections in the windows of simulated frames, by the rule ``model``."""
    device = next(network.parameters()).device
    # With a noise map, process one sequence at a time, because each has a different simulated chip.
    num_parts = len(batch.windows_N3) // sequence_frames if info.network.noise_map else 1
    found = []
    for number, part in enumerate(_split(batch, num_parts)):
        localizer = Localizer(
            bundle=ModelBundle(network, info),
            camera=_photon_camera(part).to(device),
            pixel=info.pixel_size,
            geometry=None,
            rule=ModelRule().resolve(info.detection),
            compute=ComputeConfig(dtype="float32", batch_px=64 * FIELD_PX**2),
            device=device,
        )
        found.append(localizer.find(part.photons_TYX.numpy(), part.windows_N3.numpy()))
        found[-1].window[:] += number * len(part.windows_N3)
    return Detections.concatenate(found)


def simulate_validation(config: TrainingConfig, *, seed: int) -> TrainingBatch:
    """Simulate about ``config.validation_frames`` frames of 64 x 64 px, in whole sequences."""
    return simulate_batch(
        config.simulation,
        context=config.network.context,
        num_sequences=max(1, config.validation_frames // config.sequence_frames),
        sequence_frames=config.sequence_frames,
        height=FIELD_PX,
        width=FIELD_PX,
        generator=torch.Generator().manual_seed(seed),
        variety=config.variety,
    )


def frames_for(config: TrainingConfig, emitters: int) -> int:
    """Return the number of frames that hold about this many targets, at most four times the validation frames."""
    pixel = config.simulation.pixel_size
    area_um2 = FIELD_PX**2 * pixel.x_nm * pixel.y_nm * 1e-6
    enough = math.ceil(emitters / (config.mean_density_per_um2 * area_um2))
    return min(enough, _MOST_VALIDATIONS * config.validation_frames)


@dataclass(frozen=True)
class _Part:
    """Frames of one simulated chip, and the windows over them."""

    photons_TYX: Tensor
    windows_N3: Tensor
    read_noise_YX: Tensor


def _split(batch: TrainingBatch, num_parts: int) -> list[_Part]:
    """Split a batch into parts of whole sequences, in their original order."""
    photons, windows = batch.photons_TYX.chunk(num_parts), batch.windows_N3.chunk(num_parts)
    noise = torch.zeros(num_parts, 1, 1) if batch.read_noise_TYX is None else batch.read_noise_TYX
    firsts = [number * len(photons[0]) for number in range(num_parts)]
    return [
        _Part(frames, windows_N3 - first, noise[first])
        for frames, windows_N3, first in zip(photons, windows, firsts, strict=True)
    ]


def true_emitters(batch: TrainingBatch, *, with_z: bool) -> Emitters:
    """Return the targets of a batch; ``frame`` is the number of their window, ``id`` the number of their molecule."""
    a = batch.activations
    return Emitters.from_columns(
        {
            "frame": a.sequence.numpy(),
            "x_nm": a.x_nm.numpy(),
            "y_nm": a.y_nm.numpy(),
            "photons": a.photons.numpy(),
            "id": a.molecule.numpy(),
            **({"z_nm": a.z_nm.numpy()} if with_z else {}),
        }
    )


def _photon_camera(part: _Part) -> CameraModel:
    """Return a camera whose counts are photons, with the read noise of the simulated camera."""
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    values = {"offset_adu": zero, "gain_adu_per_e": one, "variance_adu2": part.read_noise_YX**2}
    return CameraModel(ScmosCamera(offset_adu=0.0, gain_adu_per_e=1.0, variance_adu2=0.0), values)
