"""Simulated microscopy in torch: molecules, their light in each frame, photons, camera counts."""

from lls_decode.simulate.batches import Targets, TrainingBatch, simulate_batch
from lls_decode.simulate.frames import SimulatedFrames, simulate_frames
from lls_decode.simulate.molecules import Activations, Molecules, expose, sample_molecules
from lls_decode.simulate.movie import Movie, simulate_movie
from lls_decode.simulate.spikes import SpikedFrames, spike_frames

__all__ = [
    "Activations",
    "Molecules",
    "Movie",
    "SimulatedFrames",
    "SpikedFrames",
    "Targets",
    "TrainingBatch",
    "expose",
    "sample_molecules",
    "simulate_batch",
    "simulate_frames",
    "simulate_movie",
    "spike_frames",
]
