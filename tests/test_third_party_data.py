"""Expected result of reading each file of the third-party sample data.

A file is either read (opened, inspected, and frames or localizations are read), refused with a clear reason, or read
along with another file. A file without an entry in ``EXPECTED`` fails the test.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pyarrow.parquet as pq
import pytest

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import InputConfig, PixelSize
from lls_decode.errors import ChunkError, InputError, TableError
from lls_decode.evaluate.truth import read_truth
from lls_decode.export.importing import import_table
from lls_decode.frames import open_source, verify_store
from lls_decode.frames.diagnostics import inspect_source
from lls_decode.movies import convert
from lls_decode.table import iter_tables


@dataclass(frozen=True)
class Movie:
    """A movie that can be converted, opened, inspected and read."""

    volumes: int
    planes: int
    height: int
    width: int
    dtype: str = "uint16"
    says: str = ""
    """Text expected in a note of ``inspect`` or in the log."""
    salvage: bool = False
    """Whether the movie is refused without ``--salvage``."""


@dataclass(frozen=True)
class Store(Movie):
    """A zarr store, which is opened without conversion."""

    channel: int | None = None
    """Channel in the input configuration."""
    lost: str = ""
    """Reason why no frame can be read; empty if frames can be read."""


@dataclass(frozen=True)
class Table:
    """A table of localizations that can be imported and then read as a table of this package."""

    rows: int
    """Number of localizations."""


@dataclass(frozen=True)
class Truth:
    """A file that is read as the true emitters of a movie."""

    emitters: int
    pixel_nm: float


@dataclass(frozen=True)
class Refused:
    """A file that is refused as a movie, as a dataset and as a table."""

    reason: str
    """Reason in the message that refuses the file as a table."""


@dataclass(frozen=True)
class With:
    """A file that is read along with another file, or by other tests as truth or calibration."""

    what: str
    """The other file, or the purpose of the file."""


MOVIES = {
    "movies/storm_scmos_real/sample.dax": Movie(11, 1, 256, 256, says="states 10 frames", salvage=True),
    "movies/storm_scmos_real/sample.inf": With("sample.dax"),
    "movies/storm_scmos_real/calib.npy": With("camera maps"),
    "movies/challenge_2d_150nm/sequence/": Movie(41, 1, 256, 256),
    "movies/challenge_2d_150nm/sequence/*.tif": With("the folder"),
    "movies/challenge_2d_150nm/ground_truth/": Truth(300, 150),
    "movies/challenge_2d_150nm/ground_truth/*.csv": With("the folder"),
    "movies/nairr_3DAS_LD/3DAS_LD_Validate_Frame.tif": Movie(500, 1, 32, 32),
    "movies/nairr_3DAS_LD/3DAS_LD_Validate_xyz.csv": Truth(4225, 100),
    "movies/nairr_2DGauss_LD/2DGauss_LD_Validate_Frame.tif": Movie(500, 1, 32, 32),
    "movies/nairr_2DGauss_LD/2DGauss_LD_Validate_xy.csv": Truth(6468, 100),
    "movies/thunderstorm_sim_dense_2d/ArtificialDataset_demo1.tif": Movie(20, 1, 64, 64),
    "movies/thunderstorm_sim_dense_2d/positions_demo1.csv": Table(4956),
    "movies/tetrapod_storm_real/*.tif": With("the folder"),
    "movies/tetrapod_storm_real/": Movie(20, 1, 332, 492),
    "movies/tetrapod_storm_real/mask_tetrapod_printed.mat": Refused("older than v7.3"),
    "movies/dstorm_real_5f/images.tif": Movie(5, 1, 128, 128),
    "movies/dstorm_real_5f/rapidSTORM_from_images.txt": Table(12),
    "movies/picasso_sim/testdata.raw": Movie(100, 1, 32, 32),
    "movies/picasso_sim/testdata.yaml": With("testdata.raw"),
    "movies/single_frames/tubulins1_00020.tif": Movie(1, 1, 256, 256),
    "movies/single_frames/tubulins1_00020.csv": Truth(49, 150),
    "movies/single_frames/DNAPAINT_substack_median_filtered_single_frame.tif": Movie(1, 1, 144, 144, "float32"),
    "movies/andor/movie.sif": Movie(1, 1, 256, 256, "float32"),
    "movies/andor/series/": Movie(3, 1, 1, 1024, "float32"),
    "movies/andor/series/*.sif": With("the folder"),
    "movies/andor/spool_Mono16/": Movie(1, 1, 200, 200),
    "movies/andor/spool_Mono16/*": With("the folder"),
    "movies/micromanager/Cos7_A647_WF1_MMStack_Pos0.ome.tif": Movie(1, 1, 512, 512, "uint8"),
    "beads/astig_single_bead_real/single_bead.tif": Movie(201, 1, 21, 21),
    "beads/challenge2016_beads_2D/z-stack-Beads-2D-Exp.tif": Movie(1, 151, 150, 150),
    "beads/challenge2016_beads_2D/activations.csv": Refused("without a line of column names"),
    "beads/tetrapod_bead_real/TP_im.tif": Movie(55, 1, 80, 80),
    "beads/tetrapod_bead_real/NFP_pos_TP_images.mat": With("calibration"),
    "beads/pyme_psf/psf_astig.tif": Movie(61, 1, 61, 61, "float32", says="values are not whole numbers"),
    "lls/deskew_pair/im_raw_rows100-131.tif": Movie(88, 1, 32, 256),
    "lls/deskew_pair/im_deskewed_rows100-131.tif": Movie(88, 1, 32, 481, says="looks deskewed"),
    "lls/lls_bead_psf.tif": Movie(61, 1, 128, 128),
    "lls/RBC_lattice.tif": Movie(1, 150, 118, 209),
    "lls/lls_dstorm_smap_sml.mat": Table(4884),
    "lls/settings/example_Settings.txt": With("a folder of stacks"),
    "ome_zarr/ng_simple_0.4.zarr/": Store(1, 1, 10, 10),
    "ome_zarr/ng_simple_0.5.zarr/": Store(1, 1, 10, 10),
    "ome_zarr/ngio_test_image_zyx.zarr/": Store(1, 3, 64, 64, "uint8", lost="is missing"),
    "ome_zarr/ngio_test_image_tzyx.zarr/": Store(4, 3, 64, 64, "uint8", lost="is missing"),
    "ome_zarr/ngio_test_image_tczyx.zarr/": Store(4, 3, 64, 64, "uint8", channel=1, lost="is missing"),
    "decode_official/frames.tif": Movie(9, 1, 48, 43),
    "decode_official/*.pt": With("model import"),
    "decode_official/param_run.yaml": With("model import"),
    "decode_official/expected.npz": With("model import"),
    "decode_official/emitters.h5": Table(1594),
    "decode_official/emitters.csv": Table(1594),
}
TABLES = {
    "tables/locan/decode_dstorm_data.h5": Table(96),
    "tables/locan/Thunderstorm_dstorm_data.csv": Table(19),
    "tables/locan/SMLM_dstorm_data.smlm": Table(10),
    "tables/locan/rapidSTORM_dstorm_data.txt": Table(14),
    "tables/locan/Elyra_dstorm_data.txt": Table(15),
    "tables/locan/Nanoimager_dstorm_data.csv": Table(14),
    "tables/picasso/testdata_locs.hdf5": Table(564),
    "tables/picasso/testdata_locs.yaml": With("testdata_locs.hdf5"),
    "tables/thunderstorm_3d/3d_localizations.csv": Table(13988),
    "tables/smap/cme_2um_site_uncorrected_sml.csv": Table(4382),
    "tables/vlume/U2OS_microtubules_ThunderSTORM_single_RiesLab.csv": Table(2848),
    "tables/pyme/test_hdf.hdf": Refused("an HDF5 file with Localizations"),
    "tables/decode_fish/msp300_predictions.csv": Table(2598),
    "tables/challenge_gt/activations_MT0.N1.HD.csv": Table(31612),
    "tables/sotilt3d/fiducial_bead_EasyDHPSF_localizations.csv": Table(1932),
}
EXPECTED = {**MOVIES, **TABLES, "README.md": With("a reader"), "SHA256SUMS": With("a reader")}
PIXEL = PixelSize(x_nm=100, y_nm=100)


def test_every_file_has_an_entry_and_every_entry_a_file(shared_data):
    stores = [path for path in (shared_data / "ome_zarr").iterdir() if path.suffix == ".zarr"]
    files = [path for path in shared_data.rglob("*") if path.is_file() and not any(s in path.parents for s in stores)]
    names = {path.relative_to(shared_data).as_posix() for path in files}
    names |= {f"{path.relative_to(shared_data).as_posix()}/" for path in stores}
    unknown = {name for name in names if not any(fnmatchcase(name, pattern) for pattern in EXPECTED)}
    assert not unknown, f"add entries to EXPECTED for {sorted(unknown)}"
    for pattern, expected in EXPECTED.items():
        there = any(fnmatchcase(name, pattern) for name in names) or (shared_data / pattern).is_dir()
        assert there, f"{pattern} does not exist in the sample data: {expected}"


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if not isinstance(expected, With)])
def test_file_is_read_or_refused_as_expected(name, shared_data, tmp_path, caplog):
    path, expected = shared_data / name, EXPECTED[name]
    match expected:
        case Store():
            check_source(open_source(path, InputConfig(channel=expected.channel)), expected, caplog.text)
        case Movie():
            pytest.importorskip("tifffile")
            if expected.salvage:
                with pytest.raises(InputError, match="--salvage"):
                    convert(path, tmp_path / "a.zarr")
            check_source(convert(path, tmp_path / "a.zarr", salvage=expected.salvage), expected, caplog.text)
            assert verify_store(tmp_path / "a.zarr") == ()
        case Table():
            pytest.importorskip("h5py")
            import_table(path, tmp_path / "a.parquet", pixel_size=PIXEL)
            assert pq.read_metadata(tmp_path / "a.parquet").num_rows == expected.rows
            assert len(next(iter(iter_tables(tmp_path / "a.parquet", ["frame", "x_nm", "y_nm"])))) > 0
        case Truth():
            assert len(read_truth(path, pixel_nm=expected.pixel_nm)) == expected.emitters
        case Refused():
            with pytest.raises(InputError, match="is of unknown type"):
                convert(path, tmp_path / "a.zarr")
            with pytest.raises(InputError, match="expected a zarr store"):
                open_source(path)
            with pytest.raises(TableError, match=expected.reason):
                import_table(path, tmp_path / "a.parquet", pixel_size=PIXEL)
            assert list(tmp_path.iterdir()) == []


def check_source(source, expected, logged):
    """Check that a source has the expected layout, shows no damage, and that its first and last blocks can be read."""
    assert source.layout == Layout(expected.volumes, expected.planes, expected.height, expected.width)
    assert source.dtype == expected.dtype
    report = inspect_source(source, camera_frames=64)
    blocks = plan_blocks(source.layout, "time", 16)
    lost = getattr(expected, "lost", "")
    if lost:  # the writer omits chunks of zeros, which cannot be told apart from lost chunks
        assert all(lost in text for text in report["damaged"])
        with pytest.raises(ChunkError, match=lost):
            source.read(blocks[0])
        return
    assert report["damaged"] == []
    notes = "\n".join([logged, *report["notes"]])
    assert expected.says in notes
    assert ("looks deskewed" in notes) == ("looks deskewed" in expected.says), notes
    for block in (blocks[0], blocks[-1]):
        adu = source.read(block).adu_TYX
        assert adu.shape == (block.num_read, expected.height, expected.width)
        assert np.isfinite(adu).all()
