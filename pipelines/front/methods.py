"""From a microscope to a model: what ``lls-decode estimate``, ``train`` and ``inspect`` do."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lls_decode.addresses import is_address, resolve_dataset
from lls_decode.config import ComputeConfig, TrainingConfig, parse
from lls_decode.errors import ConfigError
from lls_decode.models import Given, RunConfigLike, as_config, find_bundle
from lls_decode.outputs import guarded

from .datasets import DatasetLike, as_dataset

if TYPE_CHECKING:
    from lls_decode.refine.estimation import Estimate
    from lls_decode.training.train import TrainingResult

Progress = Callable[[int, int], None]
"""Called with the number of steps that are done, and of all."""


@guarded
def train(
    config: TrainingConfig | Given | None,
    out: str | Path,
    *,
    init_from: str | Path | None = None,
    psf: str | Path | None = None,
    minutes: float | None = None,
    teacher: str | Path | None = None,
    device: str = "auto",
    stop_after: int | None = None,
    progress: Progress | None = None,
) -> "TrainingResult | None":
    """Train a localization network on simulated frames into a model bundle. The same call resumes it.

    Parameters
    ----------
    config
        A `TrainingConfig`, a dictionary (nested or with dotted keys), the path of a YAML file, or the name of a shipped
        one (``"lls-paint"``). None: that of the model ``init_from``, for a fine-tuning.
    out
        Training folder; the bundle is ``NAME.lls`` in it.
    init_from
        Fine-tune: bundle, or the name of a shipped one, whose weights the training begins with.
    psf
        PSF of ``calibrate`` or SMAP in place of the configured one; pixel size and z range follow it.
    minutes
        Limit of the training's time, in place of the configured one.
    teacher
        Distil: bundle, or the name of a shipped one, whose output maps are learned as well.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    stop_after
        Stop with a checkpoint after this many steps; the result is then None.

    Raises
    ------
    ConfigError, BundleError
        A key is unknown, or ``init_from`` or ``teacher`` does not fit the configuration.
    RunConflictError
        The folder holds another training.
    CollapseError
        The network learns nothing, and no restart is left.
    """
    from lls_decode.localize import build_calibrator, build_threshold_chooser, build_validator
    from lls_decode.localize.build import choose_device
    from lls_decode.localize.memory import keep_freed_memory
    from lls_decode.training import train as run_training

    training = training_config(config, init_from=init_from, psf=psf, minutes=minutes)
    chosen = choose_device(parse(ComputeConfig, {"device": device}, source="device"))
    if chosen.type == "cpu":
        keep_freed_memory()
    return run_training(
        training,
        out,
        validator=build_validator(training),
        calibrator=build_calibrator(training),
        choose_thresholds=build_threshold_chooser(training),
        init_from=init_from,
        teacher=teacher,
        device=chosen,
        progress=None if progress is None else lambda step, steps, losses: progress(step, steps),
        stop_after=stop_after,
    )


def training_config(
    config: TrainingConfig | Given | None,
    *,
    init_from: str | Path | None = None,
    psf: str | Path | None = None,
    minutes: float | None = None,
) -> TrainingConfig:
    """Return the configuration of a training, as `train` takes its parameters.

    Raises
    ------
    ConfigError, BundleError
        There is neither a configuration nor a model to begin with, or what is given does not fit.
    """
    from lls_decode.training.origin import tuning_config, with_psf

    if config is not None:
        training = as_config(TrainingConfig, config)
        training = training if psf is None else with_psf(training, psf)
    elif init_from is not None:
        training = tuning_config(find_bundle(init_from), psf=psf)
    else:
        raise ConfigError("Nothing says what to train; give --config, or --init-from MODEL to fine-tune a model.")
    return training if minutes is None else training.replace(minutes=minutes)


@guarded
def estimate(
    dataset: DatasetLike,
    base: TrainingConfig | Given,
    out: str | Path | None = None,
    *,
    config: RunConfigLike = None,
    psf: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> "Estimate":
    """Estimate photons, background, on-time and density of a dataset for training.

    Parameters
    ----------
    dataset
        A path or address, an opened dataset, or an array.
    base
        Training configuration to start from: a `TrainingConfig`, a dictionary, a path, or the name of a shipped one.
    out
        Folder of ``estimate.json``, ``estimate.png`` and ``training.yaml``; None: nothing is written.
    config
        Run configuration: camera, pixel size, geometry of the recording.
    psf
        PSF of ``calibrate`` or SMAP; None: that of ``base``.
    seed
        Of the few random choices.

    Raises
    ------
    InputError, ConfigError
        Frames hold too few emitters that stand alone, or what is said does not fit them.
    """
    from lls_decode.refine.estimation import estimate as run_estimate
    from lls_decode.refine.estimation import write_estimate

    opened = as_dataset(dataset, config)
    found = run_estimate(
        opened.source,
        as_config(TrainingConfig, base, source="base"),
        camera=opened.config.camera,
        pixel_size=opened.config.pixel_size,
        geometry=opened.config.geometry,
        psf=psf,
        seed=seed,
        progress=progress,
    )
    if out is not None:
        write_estimate(found, Path(out))
    return found


def inspect(dataset: DatasetLike, *, config: RunConfigLike = None, camera_frames: int = 256) -> dict[str, Any]:
    """Return what a dataset, or a localization table (``.parquet``), holds, as plain values.

    Parameters
    ----------
    dataset
        A path or address, an opened dataset, or an array; or the path of a table.
    config
        Run configuration: input, pixel size, geometry.
    camera_frames
        Frames to read for the guess at the camera; 0: none.
    """
    if isinstance(dataset, str | Path):
        dataset = resolve_dataset(dataset)
        if dataset.endswith(".parquet") and not is_address(dataset):
            from lls_decode.pipelines.flows.table_inspection import inspect_table

            return inspect_table(dataset)
    from lls_decode.frames.diagnostics import inspect_source

    opened = as_dataset(dataset, config)
    return inspect_source(
        opened.source,
        camera_frames=camera_frames,
        pixel_size=opened.config.pixel_size,
        geometry=opened.config.geometry,
    )
