"""Optics and cameras in torch: emitters to photons, photons to camera counts, and counts back to photons."""

from lls_decode.optics.camera import CameraModel, build_camera, draw_camera
from lls_decode.optics.psf import build_psf, expected_photons, psf_sigmas_nm
from lls_decode.optics.spline import CubicSpline, SplineModel, spline_from_volume
from lls_decode.optics.spline_files import content_digest, read_spline, spline_psf, write_smap
from lls_decode.optics.stamps import PsfModel, PsfVariation, Stamps

__all__ = [
    "CameraModel",
    "CubicSpline",
    "PsfModel",
    "PsfVariation",
    "SplineModel",
    "Stamps",
    "build_camera",
    "build_psf",
    "content_digest",
    "draw_camera",
    "expected_photons",
    "psf_sigmas_nm",
    "read_spline",
    "spline_from_volume",
    "spline_psf",
    "write_smap",
]
