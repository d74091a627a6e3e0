"""Spike-in for one block: localization of recorded frames before and after adding the light of known emitters."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from lls_decode.config import SimulationConfig
from lls_decode.emitters import Emitters
from lls_decode.evaluate import SpikeRows, match_spikes
from lls_decode.frames import FrameStack
from lls_decode.localize.localizer import Localizer
from lls_decode.refine import emitter_bounds
from lls_decode.simulate import spike_frames

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class SpikedBlock:
    """Results of a spike-in for one block."""

    rows: SpikeRows
    """Spikes that the model is expected to find."""
    before: Emitters
    """Localizations in the original frames."""
    num_lost: int
    num_other: int
    num_saturated_px: int


@dataclass(frozen=True)
class SpikeIn:
    """A localizer, and the simulation of the emitters that are added to its frames."""

    localizer: Localizer
    simulation: SimulationConfig
    seed: int
    lateral_nm: float = 250.0
    axial_nm: float = 500.0

    def run(self, stack: FrameStack) -> SpikedBlock:
        """Localize the owned frames of a block without and with spikes.

        The spikes are determined by the seed and the block.
        """
        block = stack.block
        seed = int(np.random.SeedSequence([self.seed, block.index]).generate_state(1)[0])
        camera = self.localizer.camera.to(torch.device("cpu"))
        spiked = spike_frames(
            stack.adu_TYX, block, self.simulation, camera, generator=torch.Generator().manual_seed(seed)
        )
        before = _emitters(self.localizer.run(stack))
        after = _emitters(self.localizer.run(FrameStack(spiked.adu_TYX, block)))
        spikes = spiked.spikes
        if not self.localizer.bundle.info.network.predict_z:
            spikes = replace(spikes, z_nm=np.full(len(spikes), np.nan))
        matches = match_spikes(spikes, before, after, lateral_nm=self.lateral_nm, axial_nm=self.axial_nm)
        height, width = stack.adu_TYX.shape[1:]
        wanted = self._targets(spiked.spikes, height, width)
        bounds = emitter_bounds(
            spiked.spikes.select(wanted),
            self.simulation.psf,
            pixel=self.simulation.pixel_size,
            camera=camera,
            field=(height, width),
        )
        rows = SpikeRows(
            spikes.select(wanted),
            matches.found.select(wanted),
            matches.is_found[wanted],
            {"x": bounds.x_nm, "y": bounds.y_nm, "z": bounds.z_nm},
        )
        return SpikedBlock(rows, before, matches.num_lost, matches.num_other, spiked.num_saturated_px)

    def _targets(self, spikes: Emitters, height: int, width: int) -> "npt.NDArray[np.bool_]":
        """Return which spikes a model must find, as in training: bright enough, in its z range, inside the field."""
        emitters, pixel = self.simulation.emitters, self.simulation.pixel_size
        x_px, y_px = spikes.x_nm / pixel.x_nm, spikes.y_nm / pixel.y_nm
        low, high = emitters.z_range_nm
        return np.asarray(
            (spikes.photons >= max(emitters.photons_min, 1.0))
            & (spikes.z_nm >= low)
            & (spikes.z_nm <= high)
            & (x_px >= -0.5)
            & (x_px < width - 0.5)
            & (y_px >= -0.5)
            & (y_px < height - 0.5)
        )


def _emitters(table: pa.Table) -> Emitters:
    return Emitters.from_columns({name: table[name].to_numpy() for name in table.column_names if name != "group"})
