"""Compare linking with the truth: molecules that are correct, split or fused, and the gain in precision.

    python benchmarks/accuracy/linking.py [--densities 0.1 0.3 1 3] [--gates 4] [--demo demo_out]

Localizations are simulated from molecules. Their sigmas are those of a Gaussian PSF of 130 nm at the photons and the
background of the frame (Mortensen et al. 2010), and twice as large along z. Each localization with at least 50
photons is found with a probability of 0.9. There are two kinds of data: a movie, in which molecules are on for three
frames on average, as in the paper's Extended Data Fig. 2, and sweeps of a lattice light sheet. ``--demo`` adds the
demo's dataset, localized by ``lls-paint``, from a folder written by `lls-decode demo`. The program prints one JSON
line for each kind of data, density and gate:

    once          share of the detected molecules that are exactly one row of the molecule table and share it with none
    split         share of the detected molecules that are several rows
    fused         share of the detected molecules that share a row with another molecule
    ratio         number of molecules / number of localizations
    ratio_true    the same ratio for perfect linking
    single        r.m.s. error of localizations in x and y (per axis), nm; ``single_z`` along z
    linked        the same after replacing the coordinates of localizations by those of their molecules
    oracle        the same for weighted means over the true molecules
    zscore        r.m.s. of error / sigma in y of molecules seen more than once; ``zscore_x`` and ``zscore_z`` along x
                  and z
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lls_decode.config import (
    EmitterConfig,
    GaussianSheet,
    Geometry,
    MovieConfig,
    PixelSize,
    Widefield,
    load,
)
from lls_decode.evaluate import match, read_truth
from lls_decode.models import find_config
from lls_decode.molecules import Gate, link
from lls_decode.molecules.positions import from_sample
from lls_decode.simulate.molecules import expose, sample_molecules
from lls_decode.table import TableMetadata, read_emitters, read_metadata, schema, table_writer

PSF_NM, BG, RECALL, PHOTONS_MIN = 130.0, 15.0, 0.9, 50.0
PIXEL = PixelSize(x_nm=104.0, y_nm=104.0)
SIDE_PX = 128
STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8, propagation_axis="x")
WAYS: dict[str, dict[str, Any]] = {
    "movie": {
        "planes": 1,
        "on_time": 2.0,
        "geometry": None,
    },  # 2 + 1 frames, because the first and the last are partial
    "sweeps": {"planes": 40, "on_time": 12.0, "geometry": STAGE},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--densities", type=float, nargs="*", default=[0.1, 0.3, 1.0, 3.0], help="Emitters per um^2 and frame."
    )
    parser.add_argument("--gates", type=float, nargs="+", default=[4.0], help="Gates of linking in sigmas.")
    parser.add_argument("--detections", type=int, default=40_000, help="Approximate number of localizations.")
    parser.add_argument("--demo", type=Path, help="Folder written by 'lls-decode demo'.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            for density in options.densities:
                table, truth = simulate(Path(folder), way, density, options.detections)
                for gate in options.gates:
                    say(
                        {
                            "data": way,
                            "density_per_um2": density,
                            "gate": gate,
                            **score_links(table, truth, gate, Path(folder)),
                        }
                    )
        if options.demo is not None:
            table, truth = read_demo(options.demo)
            for gate in options.gates:
                say({"data": "demo, lls-paint", "gate": gate, **score_links(table, truth, gate, Path(folder))})


def say(record: dict[str, Any]) -> None:
    hardware = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "linking", **record, "hardware": hardware}), flush=True)


def score_links(table: Path, truth: pd.DataFrame, sigmas: float, folder: Path) -> dict[str, Any]:
    """Link a table and compare it with the truth.

    The truth holds the true molecule and its position for each row of the table; the id is -1 if there is none.
    """
    made = link(table, out=folder / "linked", gate=Gate(sigmas=sigmas), volume_gap=None)
    molecules = pq.read_table(made.molecules).to_pandas().set_index("group")
    rows = pq.read_table(made.localizations).to_pandas()
    # errors are measured in sample coordinates, in which molecules do not move; for a movie in camera coordinates
    names = [f"{axis}s_nm" if "xs_nm" in rows else f"{axis}_nm" for axis in "xyz"]
    rows = pd.DataFrame(rows[[*names, "x_sig", "y_sig", "z_sig", "group"]]).assign(
        id=truth["id"].to_numpy(), **{f"true_{name}": truth[name].to_numpy() for name in names}
    )
    known = rows[rows.id >= 0]
    groups_of_id, ids_of_group = known.groupby("id").group.nunique(), rows.groupby("group").id.nunique()
    fused = (known.group.map(ids_of_group) > 1).groupby(known.id).any()
    split = groups_of_id > 1
    sizes = known.groupby("id").size()
    oracle = means(known, names)
    errors = {}
    for label, found in (("single", known), ("linked", molecules.loc[known.group]), ("oracle", oracle)):
        error = [found[name].to_numpy() - known[f"true_{name}"].to_numpy() for name in names]
        errors |= {label: round(rms(np.concatenate(error[:2])), 2), f"{label}_z": round(rms(error[2]), 2)}
    one = known.drop_duplicates("group")
    several = molecules.loc[one.group].num_frames.to_numpy() > 1
    pure = (ids_of_group.loc[one.group] == 1).to_numpy()
    seen = molecules.loc[one.group]
    errors_of_molecules = [seen[name].to_numpy() - one[f"true_{name}"].to_numpy() for name in names]
    geometry = read_metadata(table).geometry
    if geometry is not None:  # sigmas of molecules are along the deskewed axes
        errors_of_molecules = list(from_sample(geometry, *errors_of_molecules))
    zscores = {
        axis: rms((error / seen[f"{axis}_sig"].to_numpy())[several & pure])
        for axis, error in zip("xyz", errors_of_molecules, strict=True)
    }
    return {
        "detections": len(rows),
        "molecules": len(sizes),
        "seen": round(float(sizes.mean()), 2),
        "once": round(float((~split & ~fused).mean()), 4),
        "split": round(float(split.mean()), 4),
        "fused": round(float(fused.mean()), 4),
        "ratio": round(len(molecules) / len(rows), 3),
        "ratio_true": round((len(sizes) + int((rows.id < 0).sum())) / len(rows), 3),
        **errors,
        "zscore": round(zscores["y"], 3),
        "zscore_x": round(zscores["x"], 3),
        "zscore_z": round(zscores["z"], 3),
    }


def means(known: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return, for each row, the weighted mean of all rows of its true molecule.

    In sample coordinates, the sigmas of x, y and z are used as the weights of the corresponding sample axes.
    """
    result = {}
    for name, sigma in zip(names, ("x_sig", "y_sig", "z_sig"), strict=True):
        weight = 1 / known[sigma].astype(float) ** 2
        total = (weight * known[name]).groupby(known.id).transform("sum")
        result[name] = total / weight.groupby(known.id).transform("sum")
    return pd.DataFrame(result)


def rms(values: npt.ArrayLike) -> float:
    return float(np.sqrt(np.mean(np.asarray(values, dtype=np.float64) ** 2)))


def simulate(folder: Path, way: str, density: float, detections: int) -> tuple[Path, pd.DataFrame]:
    """Write a table of simulated localizations, and return its path and the truth of each row."""
    planes, geometry = WAYS[way]["planes"], WAYS[way]["geometry"]
    frames = int(detections / (density * (SIDE_PX * PIXEL.x_nm / 1000) ** 2)) + 1
    volumes, length = (1, frames) if planes == 1 else (frames // planes + 1, planes)
    config = load(MovieConfig, find_config("demo-movie")).simulation.replace(
        emitters=EmitterConfig(
            density_per_um2=density, photons_mean=2450, photons_sd=500, on_time_frames=WAYS[way]["on_time"],
            z_range_nm=(-500, 500),
        ),
        geometry=geometry,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    molecules = sample_molecules(
        config, num_sequences=volumes, num_frames=length, height=SIDE_PX, width=SIDE_PX, margin_px=0,
        generator=generator,
    )  # fmt: skip
    sheet = GaussianSheet(sigma_nm=300) if geometry else Widefield()
    seen = expose(molecules, num_frames=length, geometry=geometry, illumination=sheet, z_range_nm=(-500, 500))
    columns = {name: getattr(seen, name).double().numpy() for name in ("x_nm", "y_nm", "z_nm", "photons")}
    volume, plane, molecule = (getattr(seen, name).numpy() for name in ("sequence", "frame", "molecule"))
    rng = np.random.default_rng(2)
    inside = np.all([np.abs(columns[f"{a}_nm"] / 104 - SIDE_PX / 2 + 0.5) < SIDE_PX / 2 for a in "xy"], axis=0)
    keep = inside & (columns["photons"] >= PHOTONS_MIN) & (rng.uniform(size=len(volume)) < RECALL)
    columns = {name: values[keep] for name, values in columns.items()}
    frame, plane, molecule = (volume * length + plane)[keep], plane[keep], molecule[keep]
    sigma = precision_nm(columns["photons"])
    true = {axis: columns[f"{axis}_nm"] for axis in "xyz"}
    for axis, factor in zip("xyz", (1.0, 1.0, 2.0), strict=True):
        columns[f"{axis}_sig"] = factor * sigma * np.exp(rng.normal(0, 0.1, len(sigma)))
        columns[f"{axis}_nm"] = true[axis] + rng.normal(0, columns[f"{axis}_sig"])
    if geometry is not None:
        sample = geometry.to_sample(columns["x_nm"], columns["y_nm"], columns["z_nm"], plane)
        columns |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), sample, strict=True))
        exact = geometry.to_sample(true["x"], true["y"], true["z"], plane)
        truth = dict(zip(("xs_nm", "ys_nm", "zs_nm"), exact, strict=True))
    else:
        truth = {f"{axis}_nm": true[axis] for axis in "xyz"}
    columns |= {
        "frame": frame, "volume": frame // planes, "plane": frame % planes, "bg": np.full(len(frame), BG),
        "phot_sig": np.sqrt(columns["photons"]), "prob": np.full(len(frame), 0.9), "group": np.full(len(frame), -1),
    }  # fmt: skip
    order = np.lexsort((columns["x_nm"], columns["y_nm"], frame))
    wanted = schema(with_sample=geometry is not None)
    path = folder / f"{way}.parquet"
    metadata = TableMetadata(pixel_size=PIXEL, planes_per_volume=planes, geometry=geometry)
    with table_writer(path, wanted, metadata) as writer:
        arrays = [pa.array(columns[field.name][order].astype(field.type.to_pandas_dtype())) for field in wanted]
        writer.write(pa.table(arrays, wanted))
    return path, pd.DataFrame({"id": molecule[order], **{name: values[order] for name, values in truth.items()}})


def precision_nm(photons: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the precision of maximum likelihood fits of a Gaussian PSF.

    See Mortensen et al. 2010; the closed form is from Rieger and Stallinga 2014.
    """
    variance = PSF_NM**2 + PIXEL.x_nm**2 / 12
    tau = 2 * np.pi * variance * BG / (photons * PIXEL.x_nm**2)
    return np.asarray(np.sqrt(variance / photons * (1 + 4 * tau + np.sqrt(2 * tau / (1 + 4 * tau)))))


def read_demo(folder: Path) -> tuple[Path, pd.DataFrame]:
    """Return the table that `lls-decode demo` has written, and the true emitter that matches each row."""
    table, exact = folder / "results" / "localizations.parquet", folder / "movie" / "truth.parquet"
    found = read_emitters(table)
    pairs = match(read_truth(exact), found)
    rows = pd.DataFrame(
        {"id": np.full(len(found), -1), **{f"{axis}s_nm": np.full(len(found), np.nan) for axis in "xyz"}}
    )
    true = pq.read_table(exact, columns=list(rows)).to_pandas().iloc[pairs.truth]
    for name in rows:
        rows.loc[pairs.found, name] = true[name].to_numpy()
    return table, rows


if __name__ == "__main__":
    main()
