"""Truth tables of known formats are read into camera coordinates; other files are refused by name."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

from lls_decode.errors import TableError
from lls_decode.evaluate import read_truth

# path, pixel (nm), rows, first and last frame from 0, and (minimum, maximum) of x, y, z, photons in the file
KNOWN = [
    ("movies/nairr_3DAS_LD/3DAS_LD_Validate_xyz.csv", 100, 4225, (0, 499),
     ((2.786, 3176.883), (5.790, 3199.199), (-399.077, 396.173), (2400, 2400))),
    ("movies/nairr_2DGauss_LD/2DGauss_LD_Validate_xy.csv", 100, 6468, (0, 499),
     ((2.100, 3198.722), (0.473, 3195.262), None, (3000, 3000))),
    ("movies/challenge_2d_150nm/ground_truth", 150, 300, (0, 40),
     ((4068.0, 34402.2), (12861.29, 25534.09), (99, 101), (4861.02, 4861.02))),
    ("movies/challenge_2d_150nm/ground_truth/00002.csv", 150, 14, (1, 1),
     ((4773.38, 34402.2), (12861.39, 25513.57), (99, 100.77), (4861.02, 4861.02))),
    ("movies/single_frames/tubulins1_00020.csv", 150, 49, (19, 19),
     ((1626.1, 36622.17), (2429.82, 36087.43), (47.47, 261.46), (776.65, 3649.42))),
    ("movies/thunderstorm_sim_dense_2d/positions_demo1.csv", 100, 4956, (0, 19),
     ((0.521, 6399.391), (1.405, 6399.901), None, (2000.179, 2499.956))),
    ("tables/challenge_gt/activations_MT0.N1.HD.csv", 100, 31612, (0, 2499),
     ((1.793, 6398.764), (0.837, 6398.547), (-667.568, 634.808), (78.572, 10578.739))),
    ("tables/thunderstorm_3d/3d_localizations.csv", 100, 13988, (0, 34),
     ((319.129, 50968.386), (72.383, 51119.308), (-3881.935, 4518.645), (220.834, 3406759.112))),
    # the header of this file is one quoted cell
    ("tables/locan/Thunderstorm_dstorm_data.csv", 100, 19, (2000, 2000),
     ((1320.110, 16566.237), (1432.208, 27944.917), None, (196.095, 7377.065))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "pixel_nm", "rows", "frames", "ranges"), KNOWN, ids=[case[0] for case in KNOWN])
def test_known_formats_are_read(
    shared_data: Path,
    name: str,
    pixel_nm: float,
    rows: int,
    frames: tuple[int, int],
    ranges: tuple[tuple[float, float] | None, ...],
) -> None:
    truth = read_truth(shared_data / name, pixel_nm=pixel_nm)
    assert len(truth) == rows
    assert (truth.frame.min(), truth.frame.max()) == frames
    moved = (-pixel_nm / 2, -pixel_nm / 2, 0, 0)
    for values, expected, offset in zip(
        (truth.x_nm, truth.y_nm, truth.z_nm, truth.photons), ranges, moved, strict=True
    ):
        if expected is None:
            assert np.isnan(values).all()
        else:
            assert (values.min() - offset, values.max() - offset) == pytest.approx(expected, abs=1e-3)
    with pytest.raises(TableError, match="give pixel_nm"):
        read_truth(shared_data / name)


@pytest.mark.parametrize(
    ("frames", "table", "pixel_nm"),
    [
        ("nairr_3DAS_LD/3DAS_LD_Validate_Frame.tif", "nairr_3DAS_LD/3DAS_LD_Validate_xyz.csv", 100.0),
        ("nairr_2DGauss_LD/2DGauss_LD_Validate_Frame.tif", "nairr_2DGauss_LD/2DGauss_LD_Validate_xy.csv", 100.0),
        ("single_frames/tubulins1_00020.tif", "single_frames/tubulins1_00020.csv", 150.0),
        (
            "thunderstorm_sim_dense_2d/ArtificialDataset_demo1.tif",
            "thunderstorm_sim_dense_2d/positions_demo1.csv",
            100.0,
        ),
    ],
    ids=["NAIRR 3-D", "NAIRR 2-D", "challenge", "ThunderSTORM"],
)
def test_true_positions_agree_with_the_light_in_frames(
    shared_data: Path, frames: str, table: str, pixel_nm: float
) -> None:
    """On average, centroids of small windows around emitters agree with the truth within a tenth of a pixel."""
    movie = np.atleast_3d(tifffile.imread(shared_data / "movies" / frames).astype(float))
    movie = movie.transpose(2, 0, 1) if movie.shape[2] == 1 else movie
    movie = movie - np.median(movie)
    truth = read_truth(shared_data / "movies" / table, pixel_nm=pixel_nm)
    frame = truth.frame - (truth.frame.min() if len(movie) == 1 else 0)
    x, y = truth.x_nm / pixel_nm, truth.y_nm / pixel_nm
    column, row = np.round(x).astype(int), np.round(y).astype(int)
    half = 3
    _, height, width = movie.shape
    inside = (column >= half) & (column < width - half) & (row >= half) & (row < height - half)
    offset = np.arange(-half, half + 1)
    window = movie[
        frame[inside, None, None],
        row[inside, None, None] + offset[:, None],
        column[inside, None, None] + offset[None, :],
    ]
    # neighbours add light equally on all sides, so that the mean over emitters shows the error of the origin
    weight = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / 4)
    dx, dy = x[inside] - column[inside], y[inside] - row[inside]
    light = window * weight
    total = light.sum()
    # the window reduces the slope between truth and centroid, but the mean needs only symmetry
    assert (light * offset[None, None, :]).sum() / total == pytest.approx(dx.mean(), abs=0.1)
    assert (light * offset[None, :, None]).sum() / total == pytest.approx(dy.mean(), abs=0.1)
    centroid_x = (light * offset[None, None, :]).sum((1, 2)) / light.sum((1, 2)).clip(1)
    centroid_y = (light * offset[None, :, None]).sum((1, 2)) / light.sum((1, 2)).clip(1)
    bright = light.sum((1, 2)) > np.median(light.sum((1, 2)))
    assert np.corrcoef(centroid_x[bright], dx[bright])[0, 1] > 0.2
    assert np.corrcoef(centroid_y[bright], dy[bright])[0, 1] > 0.2


UNKNOWN = [
    "tables/decode_fish/msp300_predictions.csv",
    "tables/locan/Nanoimager_dstorm_data.csv",
    "tables/locan/Elyra_dstorm_data.txt",
    "tables/locan/SMLM_dstorm_data.smlm",
    "tables/locan/decode_dstorm_data.h5",
    "tables/locan/rapidSTORM_dstorm_data.txt",
    "tables/picasso/testdata_locs.hdf5",
    "tables/smap/cme_2um_site_uncorrected_sml.csv",
    "tables/sotilt3d/fiducial_bead_EasyDHPSF_localizations.csv",
    "tables/vlume/U2OS_microtubules_ThunderSTORM_single_RiesLab.csv",
    "decode_official/emitters.csv",
    "beads/challenge2016_beads_2D/activations.csv",
]


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_formats_are_refused(shared_data: Path, name: str) -> None:
    with pytest.raises(TableError, match=r"expected ours|expected a csv table") as caught:
        read_truth(shared_data / name, pixel_nm=100.0)
    assert str(shared_data / name) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_challenge_tables_are_converted_to_pixel_centres(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("Ground-truth,frame,xnano,ynano,znano,intensity \n   1, 3, 75.0, 225.5, -30.25, 900.5 \n")
    truth = read_truth(path, pixel_nm=150.0)
    assert truth.frame.tolist() == [2]
    assert (truth.x_nm[0], truth.y_nm[0], truth.z_nm[0], truth.photons[0]) == (0.0, 150.5, -30.25, 900.5)
    assert np.isnan(truth.x_sig).all()


def test_thunderstorm_tables_keep_uncertainty_and_background(tmp_path: Path) -> None:
    path = tmp_path / "ts.csv"
    path.write_text(
        '"id","frame","x [nm]","y [nm]","intensity [photon]","offset [photon]","uncertainty [nm]"\r\n'
        "1,1,50,150,9,3,7\r\n"
    )
    truth = read_truth(path, pixel_nm=100.0)
    assert (truth.frame[0], truth.x_nm[0], truth.y_nm[0], truth.photons[0], truth.bg[0]) == (0, 0, 100, 9, 3)
    assert (truth.x_sig[0], truth.y_sig[0]) == (7, 7)
    assert np.isnan(truth.z_nm[0])


def test_tables_with_our_column_names_are_read_unchanged(tmp_path: Path) -> None:
    columns = {"frame": [0, 7], "x_nm": [1.5, 2.5], "y_nm": [3.0, 4.0], "z_nm": [5.0, 6.0], "id": [4, 5]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("id,frame,x_nm,y_nm,z_nm\n4,0,1.5,3,5\n5,7,2.5,4,6\n")
    for name in ("t.parquet", "t.csv"):
        truth = read_truth(tmp_path / name)
        assert truth.frame.tolist() == [0, 7]
        assert truth.x_nm.tolist() == [1.5, 2.5]
        assert truth.id.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("frame,xnano,ynano,znano,intensity\n0,1,2,3,4\n", "frame 0 in row 1", id="0-based frames"),
        pytest.param("frame,xnano,ynano,znano,intensity\n1.5,1,2,3,4\n", "frame 1.5 in row 1", id="fractional frame"),
        pytest.param(
            "frame,xnano,ynano,znano,intensity\n1,one,2,3,4\n", "cannot be read as a table of numbers", id="text"
        ),
        pytest.param(
            "frame,xnano,ynano,znano,intensity\n1,1,2\n", "cannot be read as a table of numbers", id="short row"
        ),
        pytest.param("", "has columns ; expected ours", id="empty file"),
    ],
)
def test_damaged_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=message):
        read_truth(path, pixel_nm=100.0)


def test_header_without_rows_is_an_empty_truth(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("Ground-truth,frame,xnano,ynano,znano,intensity\n")
    assert len(read_truth(path, pixel_nm=100.0)) == 0


def test_missing_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="does not exist"):
        read_truth(tmp_path / "no.csv")
    with pytest.raises(TableError, match="has no csv files"):
        read_truth(tmp_path)
