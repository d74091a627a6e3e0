"""Streaming deep single-molecule localization of lattice light-sheet volumes.

``import lls_decode as lls`` gives access to the public interface: the names in `FRONT_DOOR` are imported when they are
first used, so that the import itself is fast and loads neither torch nor Dask. Signatures are in ``__init__.pyi``.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

__version__ = "0.1.0"

FRONT_DOOR: Final[Mapping[str, str]] = {
    # from frames to a table
    "open": "lls_decode.pipelines.front.datasets:open_dataset",
    "localize": "lls_decode.pipelines.front.localizing:localize",
    "to_dask_dataframe": "lls_decode.pipelines.front.dataframe:to_dask_dataframe",
    "run": "lls_decode.pipelines.front.running:run",
    "batch": "lls_decode.pipelines.front.running:batch",
    "demo": "lls_decode.pipelines.front.running:demo",
    "preview": "lls_decode.pipelines.flows.preview:preview",
    "inspect": "lls_decode.pipelines.front.methods:inspect",
    "convert": "lls_decode.movies.convert:convert",
    "status": "lls_decode.pipelines.status.reader:read_status",
    "watch": "lls_decode.pipelines.watch.serving:serve",
    "merge": "lls_decode.pipelines.running.merging:merge",
    "report": "lls_decode.pipelines.report.writing:write_report",
    # from a microscope to a model
    "calibrate": "lls_decode.refine.calibration.calibration:calibrate",
    "estimate": "lls_decode.pipelines.front.methods:estimate",
    "simulate": "lls_decode.simulate.movie:simulate_movie",
    "train": "lls_decode.pipelines.front.methods:train",
    "recalibrate": "lls_decode.localize.recalibration.recalibrate:recalibrate",
    "import_decode": "lls_decode.model.decode_import:import_decode",
    # tables
    "read_table": "lls_decode.pipelines.front.tables:read_table",
    "link": "lls_decode.molecules.linking:link",
    "filter": "lls_decode.molecules.filtering:filter_table",
    "debias": "lls_decode.molecules.debias:debias",
    "drift": "lls_decode.drift.correcting:correct_drift",
    "join": "lls_decode.joining.join:join_tables",
    "register": "lls_decode.register.registering:register_tables",
    "render": "lls_decode.pipelines.front.tables:render",
    "export": "lls_decode.export.exporting:export_table",
    "import_table": "lls_decode.export.importing:import_table",
    # accuracy and diagnosis
    "evaluate": "lls_decode.pipelines.flows.evaluation:evaluate_table",
    "spike_in": "lls_decode.pipelines.flows.spike_in:spike_in",
    "frc": "lls_decode.pipelines.flows.evaluation:frc",
    "doctor": "lls_decode.pipelines.doctor:examine",
    # arguments, results and errors
    "Dataset": "lls_decode.pipelines.front.datasets:Dataset",
    "RunConfig": "lls_decode.config.run:RunConfig",
    "TrainingConfig": "lls_decode.config.training:TrainingConfig",
    "MovieConfig": "lls_decode.config.movie:MovieConfig",
    "LlsDecodeError": "lls_decode.errors:LlsDecodeError",
}
"""Module and attribute of each public name, as ``module:attribute``."""

_PACKAGES: Final = ("drift", "evaluate", "export", "localize", "register", "simulate")
"""Public functions that have the same name as a subpackage."""


def __getattr__(name: str) -> Any:
    if name not in FRONT_DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = FRONT_DOOR[name].partition(":")
    found = getattr(import_module(module), attribute)
    if name in _PACKAGES:
        found = _FunctionAndPackage(name, found)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *FRONT_DOOR})


class _FunctionAndPackage:
    """Object for a name of a function and a subpackage: calls go to the function, attributes to the subpackage.

    ``lls_decode.localize(...)`` and ``lls_decode.localize.build`` both work, in any order.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        vars(self).update(__name__=name, __doc__=function.__doc__, __wrapped__=function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._package(), attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self._package(), attribute, value)

    def __delattr__(self, attribute: str) -> None:
        delattr(self._package(), attribute)

    def __reduce__(self) -> tuple[Any, ...]:
        return __getattr__, (self.__name__,)

    def __repr__(self) -> str:
        return f"<function and package {__name__}.{self.__name__}>"

    def _package(self) -> ModuleType:
        return import_module(f"{__name__}.{vars(self)['__name__']}")


class _Package(ModuleType):
    """Type of this package: importing a subpackage does not replace the function of the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PACKAGES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
