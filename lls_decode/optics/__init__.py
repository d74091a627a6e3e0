"""Light and cameras in torch: from emitters to photons, from photons to counts and back."""

from lls_decode.optics.camera import CameraModel, EmccdModel, ScmosModel, build_camera, check_maps
from lls_decode.optics.psf import build_psf, expected_photons, psf_sigmas_nm
from lls_decode.optics.spline import CubicSpline, SplineModel, spline_from_volume
from lls_decode.optics.spline_files import content_digest, read_spline, write_smap
from lls_decode.optics.stamps import PsfModel, Stamps

__all__ = [
    "CameraModel",
    "CubicSpline",
    "EmccdModel",
    "PsfModel",
    "ScmosModel",
    "SplineModel",
    "Stamps",
    "build_camera",
    "build_psf",
    "check_maps",
    "content_digest",
    "expected_photons",
    "psf_sigmas_nm",
    "read_spline",
    "spline_from_volume",
    "write_smap",
]
