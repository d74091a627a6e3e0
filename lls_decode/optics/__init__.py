"""Light and cameras in torch: from emitters to photons, from photons to counts and back."""

from lls_decode.optics.camera import CameraModel, EmccdModel, ScmosModel, build_camera, check_maps
from lls_decode.optics.psf import expected_photons, psf_sigmas_nm

__all__ = [
    "CameraModel",
    "EmccdModel",
    "ScmosModel",
    "build_camera",
    "check_maps",
    "expected_photons",
    "psf_sigmas_nm",
]
