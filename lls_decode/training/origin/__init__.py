"""Start of a training: its folder, a parent's weights, and a teacher's output maps."""

from lls_decode.training.origin.folder import check_psf, claim_folder, warn_of_sparse
from lls_decode.training.origin.parent import Parent, load_parent
from lls_decode.training.origin.teacher import Teacher, load_teacher
from lls_decode.training.origin.tuning import tuning_config, with_psf

__all__ = [
    "Parent",
    "Teacher",
    "check_psf",
    "claim_folder",
    "load_parent",
    "load_teacher",
    "tuning_config",
    "warn_of_sparse",
    "with_psf",
]
