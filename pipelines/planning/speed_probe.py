"""Estimate the speed of a run on this machine by localizing a few frames of the dataset."""

import time
from dataclasses import dataclass

from lls_decode.blocks import plan_blocks

from .plan import Plan

PROBE_FRAMES = 32


@dataclass(frozen=True)
class SpeedProbe:
    """Speed of one worker on this machine."""

    frames: int
    frames_per_s: float
    run_s: float
    """Estimated time for the whole plan with one worker."""

    def describe(self) -> str:
        """Return one line for ``--dry-run``."""
        return (
            f"estimate   {_duration(self.run_s)} with one worker on this machine "
            f"({self.frames_per_s:.1f} frames/s in a probe of {self.frames} frames)"
        )


def measure_speed(plan: Plan) -> SpeedProbe:
    """Measure the speed of reading and localizing the first frames of a plan in this process, after a warm-up.

    Raises
    ------
    InputError
        The frames cannot be read.
    """
    from lls_decode.localize import build_localizer  # imports torch, which planning does not need

    frames = sum(block.num_owned for block in plan.blocks)
    volumes = plan.config.part.volumes or (None, None)
    block = plan_blocks(plan.layout, plan.bundle.network.context, min(PROBE_FRAMES, frames), volumes=volumes)[0]
    localizer = build_localizer(plan.bundle_path, plan.config, plan.layout)
    localizer.run(plan.source.read(block))
    began = time.monotonic()
    localizer.run(plan.source.read(block))
    rate = block.num_owned / (time.monotonic() - began)
    return SpeedProbe(block.num_owned, rate, frames / rate)


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"
