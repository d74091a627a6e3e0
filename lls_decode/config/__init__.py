"""Configuration: frozen, typed, in physical units; read once at the door."""

from lls_decode.config.base import Config, digest, load, parse
from lls_decode.config.camera import Camera, EmccdCamera, PixelValue, ScmosCamera, ScmosChip
from lls_decode.config.changes import change
from lls_decode.config.detection import (
    AuthorsRule,
    DetectionRule,
    DetectionThresholds,
    ModelRule,
    PaperRule,
    ThresholdScore,
)
from lls_decode.config.geometry import Geometry, PixelSize, Positions
from lls_decode.config.movie import Cell, Homogeneous, MovieConfig, Structure
from lls_decode.config.network import RECEPTIVE_RADIUS_PX, STRIDE, NetworkConfig, Scaling
from lls_decode.config.optics import (
    AstigmaticPsf,
    GaussianPsf,
    GaussianSheet,
    Illumination,
    Psf,
    SplinePsf,
    Widefield,
)
from lls_decode.config.run import (
    CPU_BATCH_PX,
    ComputeConfig,
    ExecutionConfig,
    InputConfig,
    PartConfig,
    Roi,
    RunConfig,
    load_run_config,
)
from lls_decode.config.training import (
    BackgroundConfig,
    EarlyStopConfig,
    EmitterConfig,
    PerlinTexture,
    RestartConfig,
    SimulationConfig,
    TrainingConfig,
)

__all__ = [
    "CPU_BATCH_PX",
    "RECEPTIVE_RADIUS_PX",
    "STRIDE",
    "AstigmaticPsf",
    "AuthorsRule",
    "BackgroundConfig",
    "Camera",
    "Cell",
    "ComputeConfig",
    "Config",
    "DetectionRule",
    "DetectionThresholds",
    "EarlyStopConfig",
    "EmccdCamera",
    "EmitterConfig",
    "ExecutionConfig",
    "GaussianPsf",
    "GaussianSheet",
    "Geometry",
    "Homogeneous",
    "Illumination",
    "InputConfig",
    "ModelRule",
    "MovieConfig",
    "NetworkConfig",
    "PaperRule",
    "PartConfig",
    "PerlinTexture",
    "PixelSize",
    "PixelValue",
    "Positions",
    "Psf",
    "RestartConfig",
    "Roi",
    "RunConfig",
    "Scaling",
    "ScmosCamera",
    "ScmosChip",
    "SimulationConfig",
    "SplinePsf",
    "Structure",
    "ThresholdScore",
    "TrainingConfig",
    "Widefield",
    "change",
    "digest",
    "load",
    "load_run_config",
    "parse",
]
