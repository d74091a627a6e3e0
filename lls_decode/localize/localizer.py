"""Localization of frames on one device. Each frame is encoded once; results do not depend on batches or tiles.

Shape letters: ``T`` frames of a stack, ``N`` windows, ``D`` features, ``Y X`` pixels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from lls_decode.blocks import Tile, plan_tiles
from lls_decode.config import STRIDE, ComputeConfig, DetectionRule, Geometry, PixelSize
from lls_decode.errors import FrameValueError
from lls_decode.localize.batches import BatchSize, default_batch_px
from lls_decode.localize.detect import Detections, detect_on_device
from lls_decode.localize.place import place
from lls_decode.localize.transfer import FrameTransfer
from lls_decode.model.bundle import ModelBundle
from lls_decode.model.network import pad_to_stride
from lls_decode.optics import CameraModel

if TYPE_CHECKING:
    from lls_decode.frames import FrameStack


@dataclass(frozen=True)
class Localizer:
    """A network with the camera, pixel size, geometry and detection rule of one run."""

    bundle: ModelBundle
    camera: CameraModel
    pixel: PixelSize
    geometry: Geometry | None
    rule: DetectionRule
    compute: ComputeConfig
    device: torch.device
    part: Tile | None = None
    """Tile of the frame to localize; stacks and camera then hold only the pixels that this tile reads. None: the whole
    frame."""

    def run(self, stack: "FrameStack") -> pa.Table:
        """Localize the frames owned by the stack's block; return the rows of the table (see `localize.place`)."""
        found = self.find_in_part(stack.adu_TYX, stack.block.windows)
        return place(found, stack.block, scaling=self.bundle.info.scaling, pixel=self.pixel, geometry=self.geometry)

    def find_in_part(self, adu_TYX: npt.NDArray[np.generic], windows_N3: npt.NDArray[np.int64]) -> Detections:
        """Return the detections owned by the part, in frame pixels; ``adu_TYX`` has the pixels that the part reads."""
        found = self.find(adu_TYX, windows_N3)
        return found if self.part is None else _owned(found, self.part)

    @torch.inference_mode()
    def find(self, adu_TYX: npt.NDArray[np.generic], windows_N3: npt.NDArray[np.int64]) -> Detections:
        """Return the detections in the windows of a stack of camera counts."""
        height, width = adu_TYX.shape[1:]
        parts = []
        for tile in self._tiles(height, width):
            y, x = tile.read_y, tile.read_x
            counts = adu_TYX[:, y, x]
            parts.append(_owned(self._find_in_tile(counts, windows_N3, self.camera.crop(y, x)), tile))
        found = Detections.concatenate(parts)
        return found if len(parts) == 1 else found.select(np.lexsort((found.x_px, found.y_px, found.window)))

    @cached_property
    def _batch(self) -> BatchSize:
        """Batch size shared by all blocks of this process, so that a size that did not fit is not tried again."""
        return BatchSize(self.compute.batch_px or default_batch_px(self.device, self.bundle.info.network.filters))

    def _tiles(self, height: int, width: int) -> tuple[Tile, ...]:
        halo_y, halo_x = self.bundle.info.network.halo_yx_px
        return plan_tiles(
            height, width, tile_px=self.compute.tile_px, halo_y_px=halo_y, halo_x_px=halo_x, multiple=STRIDE
        )

    def _find_in_tile(
        self, adu_TYX: npt.NDArray[np.generic], windows_N3: npt.NDArray[np.int64], camera: CameraModel
    ) -> Detections:
        """Return the detections in one tile, encoding each frame once and in stack order.

        Features that later windows still need are carried over between batches. Windows must be in stack order, and
        their context frames at most one position away.
        """
        T, height, width = adu_TYX.shape
        assert windows_N3.max(initial=0) < T
        reaches = windows_N3.max(axis=1)
        transfer = FrameTransfer(adu_TYX, self.device)
        parts: list[tuple[Tensor, Tensor]] = []
        features: Tensor | None = None
        oldest, encoded, done = 0, 0, 0
        while done < len(windows_N3):
            ready = int(np.searchsorted(reaches, encoded))
            if ready == done:
                kept = None if features is None else features[windows_N3[done:].min() - oldest :]
                held, count = self._batch.attempt(
                    self._extend, range(encoded, T), height * width, kept, camera, transfer
                )
                features, encoded = held, encoded + count
                oldest = encoded - len(held)
            else:
                windows = windows_N3[done:ready] - oldest
                part, count = self._batch.attempt(self._detect, windows, height * width, features, (height, width))
                part[0][0] += done  # the number of the window
                parts.append(part)
                done += count
        found = Detections.unpack(torch.cat([columns for columns, _ in parts], dim=1))
        if not (torch.stack([is_finite for _, is_finite in parts]).all() and found.is_finite()):
            raise FrameValueError(_not_finite(self.compute.dtype))
        return found

    def _extend(self, frames: range, kept: Tensor | None, camera: CameraModel, transfer: FrameTransfer) -> Tensor:
        """Encode frames, and append their features to those of earlier frames."""
        fresh = self._encode(transfer.take(frames), camera)
        transfer.copy_ahead(frames)  # while a GPU encodes
        return fresh if kept is None or len(kept) == 0 else torch.cat([kept, fresh])

    def _detect(
        self, windows_N3: npt.NDArray[np.int64], features: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the detections in windows over features, without the padding of the frame, and whether all is finite.

        Both stay on the device (see `detect_on_device`), so that a GPU continues with the next batch.
        """
        windows = torch.from_numpy(windows_N3).to(self.device)
        with self._precision():
            maps = self.bundle.network.decode_sparsely(features, windows)
        return detect_on_device(maps.crop(*size), self.rule), maps.logit.isfinite().all()

    def _encode(self, adu_TYX: Tensor, camera: CameraModel) -> Tensor:
        scaling = self.bundle.info.scaling
        inputs = (camera.to_photons(adu_TYX) - scaling.input_offset) / scaling.input_scale
        noise_YX: Tensor | None = None
        if self.bundle.info.network.noise_map:
            noise_YX = ((camera.read_noise - scaling.noise_offset) / scaling.noise_scale).expand(inputs.shape[1:])
            noise_YX = pad_to_stride(noise_YX)
        with self._precision():
            return self.bundle.network.encode(pad_to_stride(inputs), noise_YX)

    def _precision(self) -> torch.autocast:
        dtype = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.compute.dtype]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


def _not_finite(dtype: str) -> str:
    """Return the likely reason why the output of the network is not finite."""
    if dtype == "float16":
        return (
            "Values inside the network exceed the range of float16 for these frames; set compute.dtype to bfloat16 or "
            "float32."
        )
    return (
        "The network gives NaN or infinite values for these frames, expected finite ones; check the model with "
        "'lls-decode model info', and the camera's offset and gain."
    )


def _owned(found: Detections, tile: Tile) -> Detections:
    """Return the detections in the pixels that a tile owns, in frame pixels."""
    found.y_px[:] += tile.read_y_start
    found.x_px[:] += tile.read_x_start
    return found.select(
        (found.y_px >= tile.y_start)
        & (found.y_px < tile.y_stop)
        & (found.x_px >= tile.x_start)
        & (found.x_px < tile.x_stop)
    )
