"""Registration of two tables or channels: shift, rotation or affine map, with its uncertainty.

`estimate` measures the map between two clouds of points, from beads or from structure. `register_tables` does what the
command does: it measures the map (or reads one), writes it, and moves the rows of a table by it.
"""

from lls_decode.register.applying import apply_transformation
from lls_decode.register.estimating import Method, estimate
from lls_decode.register.models import ModelName
from lls_decode.register.points import Cloud, read_cloud
from lls_decode.register.registering import Registered, register_tables
from lls_decode.register.transformation import Transformation, read_transformation, write_transformation

__all__ = [
    "Cloud",
    "Method",
    "ModelName",
    "Registered",
    "Transformation",
    "apply_transformation",
    "estimate",
    "read_cloud",
    "read_transformation",
    "register_tables",
    "write_transformation",
]
