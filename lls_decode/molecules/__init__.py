"""Processing of tables: linking localizations into molecules, filtering rows, removing sub-pixel position bias."""

from lls_decode.molecules.chains import Gate, Points, find_previous
from lls_decode.molecules.condition import Condition, parse_condition
from lls_decode.molecules.debias import Debiased, debias
from lls_decode.molecules.filtering import Filtered, filter_table
from lls_decode.molecules.linking import Linked, link, unlink
from lls_decode.molecules.schema import MOLECULE_COLUMNS, molecule_schema

__all__ = [
    "MOLECULE_COLUMNS",
    "Condition",
    "Debiased",
    "Filtered",
    "Gate",
    "Linked",
    "Points",
    "debias",
    "filter_table",
    "find_previous",
    "link",
    "molecule_schema",
    "parse_condition",
    "unlink",
]
