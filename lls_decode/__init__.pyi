"""Signatures of the front door: what `lls_decode.FRONT_DOOR` says, as type checkers and editors read it."""

from collections.abc import Mapping
from typing import Final

from lls_decode.config.movie import MovieConfig
from lls_decode.config.run import RunConfig
from lls_decode.config.training import TrainingConfig
from lls_decode.drift.correcting import correct_drift as drift
from lls_decode.errors import LlsDecodeError
from lls_decode.export.exporting import export_table as export
from lls_decode.export.importing import import_table
from lls_decode.joining.join import join_tables as join
from lls_decode.localize.recalibration.recalibrate import recalibrate
from lls_decode.model.decode_import import import_decode
from lls_decode.molecules.debias import debias
from lls_decode.molecules.filtering import filter_table as filter
from lls_decode.molecules.linking import link
from lls_decode.movies.convert import convert
from lls_decode.pipelines.doctor import examine as doctor
from lls_decode.pipelines.flows.evaluation import evaluate_table as evaluate
from lls_decode.pipelines.flows.evaluation import frc
from lls_decode.pipelines.flows.preview import preview
from lls_decode.pipelines.flows.spike_in import spike_in
from lls_decode.pipelines.front.dataframe import to_dask_dataframe
from lls_decode.pipelines.front.datasets import Dataset
from lls_decode.pipelines.front.datasets import open_dataset as open
from lls_decode.pipelines.front.localizing import localize
from lls_decode.pipelines.front.methods import estimate, inspect, train
from lls_decode.pipelines.front.running import batch, demo, run
from lls_decode.pipelines.front.tables import read_table, render
from lls_decode.pipelines.report.writing import write_report as report
from lls_decode.pipelines.running.merging import merge
from lls_decode.pipelines.status.reader import read_status as status
from lls_decode.pipelines.watch.serving import serve as watch
from lls_decode.refine.calibration.calibration import calibrate
from lls_decode.register.registering import register_tables as register
from lls_decode.simulate.movie import simulate_movie as simulate

__version__: str
FRONT_DOOR: Final[Mapping[str, str]]

__all__ = [
    "FRONT_DOOR",
    "Dataset",
    "LlsDecodeError",
    "MovieConfig",
    "RunConfig",
    "TrainingConfig",
    "__version__",
    "batch",
    "calibrate",
    "convert",
    "debias",
    "demo",
    "doctor",
    "drift",
    "estimate",
    "evaluate",
    "export",
    "filter",
    "frc",
    "import_decode",
    "import_table",
    "inspect",
    "join",
    "link",
    "localize",
    "merge",
    "open",
    "preview",
    "read_table",
    "recalibrate",
    "register",
    "render",
    "report",
    "run",
    "simulate",
    "spike_in",
    "status",
    "to_dask_dataframe",
    "train",
    "watch",
]
