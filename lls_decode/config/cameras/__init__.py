"""Cameras: conversion between photons and counts. Each camera is one class that implements its own behaviour."""

from typing import Annotated

from lls_decode.config.base import OneOf
from lls_decode.config.cameras.camera import (
    BaseCamera,
    Conversion,
    DarkLevel,
    Draw,
    PixelValue,
    ShotNoise,
    TrainableCamera,
    Values,
)
from lls_decode.config.cameras.emccd import EmccdCamera
from lls_decode.config.cameras.maps import ABOVE_0, ANY_NUMBER, NOT_BELOW_0, crop_values
from lls_decode.config.cameras.scmos import ScmosCamera, ScmosChip, chip_statistics

CAMERAS: list[type[BaseCamera]] = [EmccdCamera, ScmosCamera]
"""All camera classes that a configuration can use; add a new camera's class here."""

Camera = Annotated[BaseCamera, OneOf(CAMERAS)]
TrainingCamera = Annotated[TrainableCamera, OneOf(CAMERAS, also=(ScmosChip,))]

__all__ = [
    "ABOVE_0",
    "ANY_NUMBER",
    "CAMERAS",
    "NOT_BELOW_0",
    "BaseCamera",
    "Camera",
    "Conversion",
    "DarkLevel",
    "Draw",
    "EmccdCamera",
    "PixelValue",
    "ScmosCamera",
    "ScmosChip",
    "ShotNoise",
    "TrainableCamera",
    "TrainingCamera",
    "Values",
    "chip_statistics",
    "crop_values",
]
