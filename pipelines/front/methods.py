"""Estimate, train and inspect: the functions behind ``lls-decode estimate``, ``train`` and ``inspect``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lls_decode.addresses import is_address, resolve_dataset
from lls_decode.config import ComputeConfig, TrainingConfig, parse
from lls_decode.errors import ConfigError
from lls_decode.models import Given, RunConfigLike, as_config, find_bundle
from lls_decode.outputs import guarded
from lls_decode.pipelines.flows.presets import find_start

from .datasets import DatasetLike, as_dataset

if TYPE_CHECKING:
    from lls_decode.refine.estimation import Estimate
    from lls_decode.training.train import TrainingResult

Progress = Callable[[int, int], None]
"""Function that is called with the number of finished steps and the total number of steps."""


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
    """Train a localization network on simulated frames and write a model bundle. Repeating the call resumes training.

    Parameters
    ----------
    config
        A `TrainingConfig`, a dictionary (nested or with dotted keys), the path of a YAML file, or the name of a shipped
        configuration (``"lls-paint"``). None: the configuration of the model ``init_from``, to fine-tune it.
    out
        Training folder; the bundle is ``NAME.lls`` in it.
    init_from
        Bundle to fine-tune, or the name of a shipped model: training starts with its weights.
    psf
        PSF of ``calibrate`` or SMAP in place of the configured one; pixel size and z range are adapted to it.
    minutes
        Time limit of the training, in place of the configured one.
    teacher
        Bundle to distil, or the name of a shipped model: the network also learns to reproduce its output maps.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    stop_after
        Write a checkpoint and stop after this many steps; the result is then None.

    Raises
    ------
    ConfigError, BundleError
        The configuration has an unknown key, or ``init_from`` or ``teacher`` does not fit the configuration.
    RunConflictError
        The folder contains another training.
    CollapseError
        The network does not learn, and no restart is left.
    """
    from lls_decode.localize import build_calibrator, build_threshold_chooser, build_validator
    from lls_decode.localize.build import choose_device
    from lls_decode.localize.memory import keep_freed_memory
    from lls_decode.model.bundle import load_bundle
    from lls_decode.training import train as run_training

    training = training_config(config, init_from=init_from, psf=psf, minutes=minutes)
    for model in (init_from, teacher):  # before frames for the validation are simulated
        if model is not None:
            load_bundle(find_bundle(model))
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
    """Return the training configuration that results from the parameters of `train`.

    Raises
    ------
    ConfigError, BundleError
        Neither a configuration nor a model to fine-tune is given, or the parameters contradict each other.
    """
    from lls_decode.training.origin import tuning_config, with_psf

    if config is not None:
        training = as_config(TrainingConfig, config)
        training = training if psf is None else with_psf(training, psf)
    elif init_from is not None:
        training = tuning_config(find_bundle(init_from), psf=psf)
    else:
        raise ConfigError(
            "There is no training configuration; give --config, or --init-from MODEL to fine-tune a model."
        )
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
    """Estimate the photons, background, on-time and density of a dataset, to configure a training.

    Parameters
    ----------
    dataset
        A path or address, an opened dataset, or an array.
    base
        Training configuration to start from: a `TrainingConfig`, a dictionary, a path, or the name of a shipped one.
    out
        Folder for ``estimate.json``, ``estimate.png`` and ``training.yaml``; None: nothing is written.
    config
        Run configuration with the camera, pixel size and geometry of the recording.
    psf
        PSF of ``calibrate`` or SMAP; None: that of ``base``.
    seed
        Seed of the random choices.

    Raises
    ------
    InputError, ConfigError
        The frames contain too few isolated emitters, or contradict the configuration.
    """
    from lls_decode.refine.estimation import estimate as run_estimate
    from lls_decode.refine.estimation import write_estimate

    opened, base = as_dataset(dataset, config), as_config(TrainingConfig, base, source="base")
    found = run_estimate(
        opened.source,
        base,
        camera=opened.config.camera,
        pixel_size=opened.config.pixel_size,
        geometry=opened.config.geometry,
        psf=psf,
        seed=seed,
        progress=progress,
    )
    found = replace(found, init_from=find_start(base.name, found.training.network))
    if out is not None:
        write_estimate(found, Path(out))
    return found


def inspect(dataset: DatasetLike, *, config: RunConfigLike = None, camera_frames: int = 256) -> dict[str, Any]:
    """Summarize the contents of a dataset, or of a localization table (``.parquet``), as plain values.

    Parameters
    ----------
    dataset
        A path or address, an opened dataset, or an array; or the path of a table.
    config
        Run configuration with input, pixel size and geometry.
    camera_frames
        Number of frames that are read to guess the camera; 0: the camera is not guessed.
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
