"""Localization of one block of frames: from frames to a table of localizations, on one device."""

from lls_decode.localize.build import build_localizer
from lls_decode.localize.detect import Detections, detect
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.place import place
from lls_decode.localize.recalibration.recalibrate import build_calibrator, recalibrate
from lls_decode.localize.spike_in import SpikedBlock, SpikeIn
from lls_decode.localize.thresholds import build_threshold_chooser, describe_thresholds
from lls_decode.localize.validate import build_validator

__all__ = [
    "Detections",
    "Localizer",
    "SpikeIn",
    "SpikedBlock",
    "build_calibrator",
    "build_localizer",
    "build_threshold_chooser",
    "build_validator",
    "describe_thresholds",
    "detect",
    "place",
    "recalibrate",
]
