"""Configuration is read from YAML, validated and written back unchanged."""

import inspect
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from lls_decode.config import (
    AstigmaticPsf,
    AuthorsRule,
    BackgroundConfig,
    Cell,
    ComputeConfig,
    Config,
    DetectionThresholds,
    EarlyStopConfig,
    EmccdCamera,
    EmitterConfig,
    ExecutionConfig,
    GaussianPsf,
    GaussianSheet,
    Geometry,
    Homogeneous,
    InputConfig,
    ModelRule,
    MovieConfig,
    NetworkConfig,
    PaperRule,
    PartConfig,
    PerlinTexture,
    PixelSize,
    RestartConfig,
    Roi,
    RunConfig,
    Scaling,
    ScmosCamera,
    ScmosChip,
    SimulationConfig,
    SplinePsf,
    StorageConfig,
    ThresholdScore,
    TrainingConfig,
    Variety,
    Widefield,
    load,
    parse,
)
from lls_decode.config.calibration import (
    Curve,
    ErrorCalibration,
    ErrorCorrelation,
    ReliabilityPoint,
    SigmaCurve,
    SigmaTerm,
)
from lls_decode.config.commented import commented_yaml
from lls_decode.errors import ConfigError

PIXEL = PixelSize(x_nm=104.0, y_nm=108.5)
GEOMETRY = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8, propagation_axis="y", scan_direction=-1)
EMITTERS = EmitterConfig(
    density_per_um2=0.5, photons_mean=2000.0, photons_sd=500.0, on_time_frames=None, z_range_nm=(-500.0, 500.0)
)
ASTIGMATIC = AstigmaticPsf(
    sigma_x_nm=130.0, sigma_y_nm=131.0, focus_x_nm=-220.0, focus_y_nm=220.0, depth_x_nm=300.0, depth_y_nm=1e-05
)
CHIP = ScmosChip(
    offset_adu=100.0,
    offset_sd_adu=3.0,
    gain_adu_per_e=2.1,
    gain_sd_adu_per_e=0.1,
    variance_adu2=5.7,
    variance_spread=0.4,
    hot_fraction=0.004,
)
SIMULATION = SimulationConfig(
    pixel_size=PIXEL,
    psf=ASTIGMATIC,
    camera=CHIP,
    emitters=EMITTERS,
    background=BackgroundConfig(low=8.0, high=22.0),
    illumination=GaussianSheet(sigma_nm=300.0),
    geometry=GEOMETRY,
)
TRAINING = TrainingConfig(
    name="cell",
    simulation=SIMULATION,
    network=NetworkConfig(context="plane", shift_px=-3, shift_axis="y"),
    steps=100,
)
CELL = Cell(
    radii_nm=(4200.0, 3600.0, 1800.0),
    membrane_share=0.4,
    num_filaments=40,
    filament_length_nm=6000.0,
    persistence_nm=6000.0,
)
MOVIE = MovieConfig(
    name="demo", simulation=SIMULATION, structure=CELL, num_volumes=2, planes_per_volume=3, height=32, width=64
)
THRESHOLDS = DetectionThresholds(
    candidate=0.25,
    confident=1.0,
    accept=0.5,
    curve=(ThresholdScore(accept=0.5, precision=0.97, recall=0.87, jaccard=0.84, efficiency=0.73),),
)
SIGMA_TERM = SigmaTerm(feature="near", knots=(0.0, 1.0, 2.0), values=(0.0, 0.1, 0.4))
SIGMA_CURVE = SigmaCurve(offset=-0.1, terms=(SIGMA_TERM,))

EVERY = [
    PIXEL,
    GEOMETRY,
    EmccdCamera(baseline_adu=100.0, e_per_adu=45.0, em_gain=300.0, read_sigma_e=74.4, spurious_e=0.002),
    ScmosCamera(offset_adu="maps/offset.npy", gain_adu_per_e=2.1, variance_adu2="/absolute/variance.npy"),
    CHIP,
    GaussianPsf(sigma_nm=150.0),
    ASTIGMATIC,
    SplinePsf(path="psf.npz", content="0123456789abcdef"),
    GaussianSheet(sigma_nm=300.0),
    Widefield(),
    NetworkConfig(filters=24, shift_axis="y", predict_z=False),
    Scaling(input_scale=40.0, input_offset=15.0, photons=4500.0, z_nm=600.0, bg=26.4),
    EMITTERS,
    PerlinTexture(feature_nm=1500.0, contrast=0.5),
    BackgroundConfig(low=0.0, high=1.0),
    BackgroundConfig(low=0.0, high=1.0, texture=PerlinTexture(feature_nm=1500.0, contrast=0.5)),
    SIMULATION,
    EarlyStopConfig(validations=3, gain=0.01),
    RestartConfig(times=2, after_steps=10),
    Variety(sparse_share=0.5, psf_width_sd=0.0),
    TRAINING,
    Homogeneous(),
    CELL,
    MOVIE,
    StorageConfig(endpoint="https://host:9000", region="eu-west-3", anonymous=True),
    InputConfig(array="a/0", axes="tzyx", channel=1, skip_first=2, bidirectional=True),
    Roi(x=(0, 64), y=(3, 9)),
    PartConfig(volumes=(None, 9), roi=Roi(x=(0, 64), y=(3, 9))),
    PaperRule(candidate=0.2),
    ModelRule(accept=0.5),
    THRESHOLDS,
    *THRESHOLDS.curve,
    AuthorsRule(raw_th=0.2),
    Curve(knots=(0.1, 0.9), values=(0.2, 0.8)),
    SIGMA_TERM,
    SIGMA_CURVE,
    ErrorCorrelation(along="plane", x=(0.7, 0.4), y=(0.7, 0.4), z=()),
    ReliabilityPoint(prob=0.55, right=0.79, num=120),
    ErrorCalibration(
        x=SIGMA_CURVE, y=SIGMA_CURVE, z=None, photons=SIGMA_CURVE, conditions=3, spreads={"x": (0.9, 1.1)}
    ),
    ComputeConfig(device="cpu", threads=3),
    ExecutionConfig(block_frames=64),
    RunConfig(camera=ScmosCamera(offset_adu=1.0, gain_adu_per_e=2.0, variance_adu2=3.0), geometry=GEOMETRY),
    RunConfig(part=PartConfig(volumes=(2, 4))).resolve(
        camera=ScmosCamera(offset_adu=1.0, gain_adu_per_e=2.0, variance_adu2=3.0), pixel_size=PIXEL, geometry=GEOMETRY
    ),
]


def test_every_configuration_class_is_in_the_list_of_examples() -> None:
    def below(kind: type[Config]) -> set[type[Config]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    of_config = {kind for kind in below(Config) if kind.__module__.startswith("lls_decode.config")} - {Config}
    assert {type(config) for config in EVERY} == {kind for kind in of_config if not inspect.isabstract(kind)}


@pytest.mark.parametrize("config", EVERY, ids=lambda config: type(config).__name__)
def test_yaml_round_trip(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    again = load(type(config), path)
    assert again == config
    assert again.digest() == config.digest()
    assert again.to_yaml() == config.to_yaml()


@pytest.mark.parametrize("config", EVERY, ids=lambda config: type(config).__name__)
def test_comments_change_no_value(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(commented_yaml(config, header=("first", "second")))
    assert load(type(config), path) == config
    assert path.read_text().startswith("# first\n# second\n")


def test_yaml_comments_come_from_the_field_docstrings() -> None:
    lines = commented_yaml(TRAINING).splitlines()
    assert lines[lines.index("    photons_mean: 2000.0") - 1] == (
        "    # Mean photon flux of an emitter at full excitation, photons per frame."
    )
    assert lines[lines.index("  camera:") - 1] == "  # Other kinds: emccd, scmos."
    assert lines[lines.index("network:") - 1] == "# Two stacked networks: one for each frame, one for windows of three."
    assert lines[lines.index("    on_time_frames: null") - 1].endswith(
        "in frames; null: on in every frame of a sequence."
    )


def test_unusual_but_valid_training_configurations_are_accepted() -> None:
    """Each change is close to one that is refused, but valid."""
    for changes in (
        {"simulation__emitters__photons_sd": 2000.0},
        {"simulation__background": {"low": 0.0, "high": 0.0}},
        {"simulation__emitters__z_range_nm": [0.0, 0.0]},
        {"network__predict_z": False, "simulation__psf": {"kind": "gaussian", "sigma_nm": 130.0}},
        {"validate_every": 10_000},
        {"schedule": "step", "early_stop": {}},
        {"restart": {"after_steps": 100}},
    ):
        assert parse(TrainingConfig, change(TRAINING, **changes), source="x").steps == 100


def test_configuration_is_immutable() -> None:
    with pytest.raises(Exception, match="frozen"):
        PIXEL.x_nm = 1.0


def test_replace_returns_a_validated_copy() -> None:
    other = TRAINING.replace(steps=200)
    assert (other.steps, TRAINING.steps) == (200, 100)
    assert other.simulation == TRAINING.simulation
    assert other.digest() != TRAINING.digest()
    with pytest.raises(ConfigError, match="steps"):
        TRAINING.replace(steps=0)
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        TRAINING.replace(step=5)


def change(config: Config, **changes: Any) -> dict[str, Any]:
    """Return the plain values of a configuration with changes; ``__`` separates the levels of a nested name."""
    data = config.to_dict()
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = data
        for parent in parents:
            place = place[parent]
        place[last] = value
    return data


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        pytest.param(PixelSize, {"x_nm": 1, "y_nn": 2}, ["unknown key 'y_nn'", "did you mean 'y_nm'"], id="misspelt"),
        pytest.param(
            RunConfig,
            {"compute": {"tilepx": 4}},
            ["'compute.tilepx'", "did you mean 'tile_px'"],
            id="misspelt in a section",
        ),
        pytest.param(
            RunConfig,
            {"tile_px": 4},
            ["unknown key 'tile_px'", "did you mean 'compute.tile_px'"],
            id="in the wrong place",
        ),
        pytest.param(
            RunConfig,
            {"detection": {"rule": "paper", "raw_th": 0.1}},
            ["unknown key 'detection.raw_th' here: 'raw_th' belongs to another kind of detection."],
            id="of another kind",
        ),
        pytest.param(
            RunConfig,
            {"detection": {"rule": "pape"}},
            ["run.yaml: detection.rule is 'pape', expected one of 'model', 'paper', 'authors'."],
            id="unknown kind",
        ),
        pytest.param(
            RunConfig,
            {"compute": {"dtype": "bf16"}},
            ["compute.dtype: Input should be 'auto', 'float32', 'bfloat16' or 'float16', found 'bf16'."],
            id="none of the words",
        ),
        pytest.param(
            RunConfig,
            {"compute": {"device": "rocm"}},
            ["compute.device: GPUs of AMD (ROCm) are called 'cuda', as in torch, found 'rocm'."],
            id="GPU of AMD",
        ),
        pytest.param(RunConfig, {"compute": {"device": "mps"}}, ["the GPU of a Mac (MPS) is not supported"], id="Mac"),
        pytest.param(
            RunConfig,
            {"compute": {"compile": "maybe"}},
            ["compute.compile: Input should be a valid boolean", " or: Input should be 'auto', found 'maybe'."],
            id="none of several types",
        ),
        pytest.param(
            RunConfig,
            {"part": {"volumes": [1, "x"]}},
            ["part.volumes.1: ", "found 'x'"],
            id="an item of a list",
        ),
        pytest.param(PixelSize, {"x_nm": 1, "y_nm": 2, "zzz": 3}, ["unknown key 'zzz'"], id="resembles no known key"),
        pytest.param(PixelSize, {"x_nm": 104.0}, ["y_nm", "required"], id="missing"),
        pytest.param(PixelSize, {"x_nm": 0, "y_nm": 1}, ["x_nm", "greater than 0", "found 0"], id="zero pixel"),
        pytest.param(PixelSize, {"x_nm": float("nan"), "y_nm": 1}, ["x_nm", "finite"], id="not a number"),
        pytest.param(PixelSize, {"x_nm": float("inf"), "y_nm": 1}, ["x_nm", "finite"], id="infinite"),
        pytest.param(PixelSize, {"x_nm": 1e300, "y_nm": 1}, ["x_nm is 1e+300", "1e-100 to 1e+30"], id="overflows"),
        pytest.param(PixelSize, {"x_nm": 1e-300, "y_nm": 1}, ["x_nm is 1e-300"], id="vanishes"),
        pytest.param(EmitterConfig, change(EMITTERS, z_range_nm=[0, 1e300]), ["z_range_nm is 1e+300"], id="in a list"),
        pytest.param(
            TrainingConfig, change(TRAINING, seed=1 << 64), ["seed is an integer with more than 63"], id="64 bits"
        ),
        pytest.param(
            RunConfig, {"execution": {"retries": True}}, ["retries is True", "a number"], id="yes for a number"
        ),
        pytest.param(RunConfig, {"camera": {"kind": {}}}, ["kind is {}, expected one of"], id="kind is a mapping"),
        pytest.param(RunConfig, {"detection": {"rule": {}}}, ["detection", "'{}'"], id="rule is a mapping"),
        pytest.param(PixelSize, {"x_nm": "wide", "y_nm": 1}, ["x_nm", "found 'wide'"], id="text"),
        pytest.param(Geometry, change(GEOMETRY, angle_deg=131.8), ["angle_deg", "found 131.8"], id="angle"),
        pytest.param(Geometry, change(GEOMETRY, scan_direction=0), ["scan_direction", "found 0"], id="direction"),
        pytest.param(EmitterConfig, change(EMITTERS, z_range_nm=[500, -500]), ["500 to -500"], id="z range reversed"),
        pytest.param(
            EmitterConfig, change(EMITTERS, z_render_nm=[-400, 400]), ["must include z_range_nm"], id="z not rendered"
        ),
        pytest.param(BackgroundConfig, {"low": 5, "high": 4}, ["low (5) is above high (4)"], id="background"),
        pytest.param(
            TrainingConfig, change(TRAINING, simulation__geometry=None), ["needs simulation.geometry"], id="no geometry"
        ),
        pytest.param(TrainingConfig, change(TRAINING, crop_px=42), ["crop_px", "multiple of 4"], id="crop"),
        pytest.param(
            SimulationConfig, change(SIMULATION, camera__kind="ccd"), ["camera", "'ccd'"], id="unknown camera"
        ),
        pytest.param(PaperRule, {"rule": "none"}, ["rule", "found 'none'"], id="rule"),
        pytest.param(
            ScmosChip, change(CHIP, hot_variance_adu2=[20, 10]), ["hot_variance_adu2 runs from 20 to 10"], id="hot"
        ),
        pytest.param(
            TrainingConfig,
            change(TRAINING, simulation__emitters__photons_mean=40.0),
            ["photons_mean (40) is below photons_min (50)", "lower photons_min"],
            id="mean photons below the minimum",
        ),
        pytest.param(
            TrainingConfig,
            change(TRAINING, simulation__emitters__photons_sd=2100.0),
            ["photons_sd (2100) is above photons_mean (2000)"],
            id="photons below zero",
        ),
        pytest.param(
            TrainingConfig,
            change(TRAINING, simulation__psf={"kind": "gaussian", "sigma_nm": 130.0}),
            ["the same at every z", "predict_z"],
            id="z of a PSF that is the same at every z",
        ),
        pytest.param(
            TrainingConfig,
            change(TRAINING, simulation__psf__depth_y_nm=300.0, simulation__emitters__z_range_nm=[-1500, 0]),
            ["reaches -1500 nm, 4.3 depths out of both foci"],
            id="far out of focus",
        ),
        pytest.param(
            TrainingConfig,
            change(TRAINING, network__shift_px=-2),
            ["-2 along y", "-3.13 px along y", "network.shift_px to -3"],
            id="plane shift",
        ),
        pytest.param(
            TrainingConfig, change(TRAINING, network__shift_axis="x"), ["network.shift_axis to y"], id="shift axis"
        ),
        pytest.param(
            TrainingConfig, change(TRAINING, network__context="time"), ["do not shift", "shift_px to 0"], id="no planes"
        ),
        pytest.param(
            TrainingConfig, change(TRAINING, early_stop={}), ["one-cycle", "set schedule to step"], id="early stop"
        ),
        pytest.param(
            TrainingConfig, change(TRAINING, restart={}), ["after_steps (1000) is above steps (100)"], id="restart"
        ),
        pytest.param(
            TrainingConfig, change(TRAINING, schedule="cosine"), ["schedule", "found 'cosine'"], id="schedule"
        ),
    ],
)
def test_invalid_configuration_is_refused_in_one_short_sentence(
    kind: type[Config], data: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(kind, data, source="run.yaml")
    message = str(caught.value)
    assert message.startswith("run.yaml: ")
    for word in words:
        assert word in message
    assert len(message) < 300, "one sentence, not a dump of the configuration"
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("x_nm: [1", "is not YAML", id="broken"),
        pytest.param("- 1\n- 2", "holds list, expected a mapping", id="a list"),
        pytest.param("", "holds NoneType, expected a mapping", id="empty"),
        pytest.param("a: 1\nb: {c: 1, d: 2, c: 3}", "the key 'c' twice in one mapping; keep one", id="repeated key"),
        pytest.param("a: {b: 1}\na: 2", "the key 'a' twice", id="repeated section"),
    ],
)
def test_files_without_a_mapping_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "pixel.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(PixelSize, path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load(PixelSize, tmp_path / "absent.yaml")


def test_yaml_cannot_construct_python_objects(tmp_path: Path) -> None:
    path = tmp_path / "pixel.yaml"
    path.write_text("x_nm: !!python/object/apply:os.getpid []\ny_nm: 1")
    with pytest.raises(ConfigError, match="is not YAML"):
        load(PixelSize, path)


def test_relative_map_paths_start_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    camera = ScmosCamera(offset_adu="maps/offset.npy", gain_adu_per_e=2.1, variance_adu2="/absolute/variance.npy")
    resolved = camera.resolve(tmp_path)
    assert resolved.offset_adu == str((tmp_path / "maps" / "offset.npy").resolve())
    assert resolved.gain_adu_per_e == 2.1
    assert resolved.variance_adu2 == "/absolute/variance.npy"


def packaged(name: str) -> Path:
    return Path(str(resources.files("lls_decode.models") / name))


@pytest.mark.parametrize("name", ["lls-paint", "storm-2d"])
def test_training_configurations_of_shipped_models_are_valid(name: str) -> None:
    config = load(TrainingConfig, packaged(f"{name}.yaml"))
    assert config.name == name
    geometry = config.simulation.geometry
    if config.network.context == "plane":
        assert geometry is not None
        assert config.network.shift_px == geometry.whole_shift_px(config.simulation.pixel_size)
        assert config.network.shift_axis == geometry.propagation_axis


def test_the_demo_movie_matches_its_model() -> None:
    movie = load(MovieConfig, packaged("demo-movie.yaml")).simulation
    model = load(TrainingConfig, packaged("lls-paint.yaml")).simulation
    assert (movie.psf, movie.pixel_size, movie.geometry) == (model.psf, model.pixel_size, model.geometry)
    assert model.background.low <= movie.background.low <= movie.background.high <= model.background.high
