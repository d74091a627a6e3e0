"""Accuracy of a network on frames it has not seen, by the detection and scoring that users get."""

from collections.abc import Callable

import torch

from lls_decode.config import ComputeConfig, PaperRule, TrainingConfig
from lls_decode.emitters import Emitters
from lls_decode.evaluate import Score, score
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.place import to_emitters
from lls_decode.model.bundle import ModelBundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.optics import ScmosModel
from lls_decode.simulate import TrainingBatch, simulate_batch

_FIELD_PX = 64
_SEED = 987_654_321
"""Validation frames are the same for every network, and never those of a training seed in use."""


def build_validator(config: TrainingConfig) -> Callable[[LocNet, BundleInfo], Score]:
    """Simulate the validation frames of a training configuration; the result scores a network on them.

    Frames are 64 px wide (training crops are smaller), all targets count, those at the border too.
    """
    generator = torch.Generator().manual_seed(_SEED)
    batch = simulate_batch(
        config.simulation,
        context=config.network.context,
        num_sequences=max(1, config.validation_frames // config.sequence_frames),
        sequence_frames=config.sequence_frames,
        height=_FIELD_PX,
        width=_FIELD_PX,
        generator=generator,
    )
    truth = _truth(batch, with_z=config.network.predict_z)

    def validate(network: LocNet, info: BundleInfo) -> Score:
        device = next(network.parameters()).device
        localizer = Localizer(
            bundle=ModelBundle(network, info),
            camera=_photon_camera().to(device),
            pixel=info.pixel_size,
            geometry=None,
            rule=PaperRule(),
            compute=ComputeConfig(batch_px=64 * _FIELD_PX**2),
            device=device,
        )
        found = localizer.find(batch.photons_TYX.numpy(), batch.windows_N3.numpy())
        return score(truth, to_emitters(found, info.scaling, info.pixel_size))

    return validate


def _truth(batch: TrainingBatch, *, with_z: bool) -> Emitters:
    a = batch.activations
    return Emitters.from_columns(
        {
            "frame": a.sequence.numpy(),
            "x_nm": a.x_nm.numpy(),
            "y_nm": a.y_nm.numpy(),
            "photons": a.photons.numpy(),
            **({"z_nm": a.z_nm.numpy()} if with_z else {}),
        }
    )


def _photon_camera() -> ScmosModel:
    """A camera whose counts are photons already."""
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    return ScmosModel(offset_adu=zero, gain_adu_per_e=one, variance_adu2=zero, quantum_efficiency=1.0)
