"""Compare predicted sigmas with measured errors of overlapping emitters (Speiser et al. 2021, Fig. 2b).

    lls-decode calibrate ../shared/data/beads/astig_single_bead_real/single_bead.tif --z-step-nm 10 --pixel-nm 132 \
        --roi-px 17 --offset-adu 400 --gain-adu-per-e 10 --out work/bead.npz
    python benchmarks/accuracy/sigma.py --psf work/bead.npz [--models MODEL.lls ...] [--density 1] [--repeats 100]

One dense configuration of emitters is simulated repeatedly with new noise. The program prints one JSON line per model:
the correlation, over emitters found at least 10 times, of the root mean square error with the mean predicted sigma and
with the Cramer-Rao bound of an isolated emitter (0.86 and 0.07 in the paper), and std(error / sigma).
"""

import argparse
import json
import os
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from isolated import SNRS, localize

from lls_decode.config import SimulationConfig, SplinePsf
from lls_decode.emitters import Emitters
from lls_decode.evaluate import evaluate
from lls_decode.evaluate.calibration import SigmaAgreement, sigma_agreements
from lls_decode.evaluate.score import Comparison
from lls_decode.model.bundle import ModelBundle, load_bundle
from lls_decode.optics import build_camera
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.refine import with_bounds
from lls_decode.simulate.frames import draw_photons
from lls_decode.simulate.molecules import expose, sample_molecules

HERE = Path(__file__).resolve().parent
FIELD_PX, SEQUENCES, FRAMES = 64, 4, 3
FLUX_SPREAD = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--psf", default="work/bead.npz")
    parser.add_argument("--models", type=Path, nargs="+", default=[HERE / "bead-3d.lls", HERE / "bead-3d-single.lls"])
    parser.add_argument("--snr", choices=list(SNRS), default="high")
    parser.add_argument("--density", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    for path in options.models:
        bundle = load_bundle(path)
        line = {"benchmark": "sigma", "model": bundle.info.name, "context": bundle.info.network.context}
        line |= {"filters": bundle.info.network.filters, "snr": options.snr, "density_per_um2": options.density}
        line |= measure(bundle, options.psf, options.snr, options.density, options.repeats)
        print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)


def measure(bundle: ModelBundle, psf: str, snr: str, density: float, repeats: int) -> dict[str, object]:
    photons, bg = SNRS[snr]
    s = SimulationConfig.model_validate(bundle.info.training["configuration"]["simulation"])
    light = {"photons_mean": photons, "photons_sd": FLUX_SPREAD * photons}
    emitters = s.emitters.replace(density_per_um2=density, density_spread=0.0, **light)
    s = s.replace(psf=SplinePsf(path=psf), emitters=emitters)
    generator = torch.Generator().manual_seed(2)
    expected, emitters_once = scene(s, bg, generator)
    camera = build_camera(bundle.info.camera, FIELD_PX, FIELD_PX)
    windows = FRAMES * np.arange(SEQUENCES)[:, None] + np.arange(FRAMES)
    truths, founds = [], []
    for first in range(0, repeats * SEQUENCES, SEQUENCES):
        adu = camera.to_adu(expected, generator).view(-1, FIELD_PX, FIELD_PX).numpy()
        for rows, into in ((emitters_once, truths), (localize(bundle, camera, adu, windows), founds)):
            into.append(replace(rows, frame=rows.frame + first))
    truth = Emitters.concatenate(truths)
    judged = evaluate(truth, Emitters.concatenate(founds), photons_min=s.emitters.photons_min)
    line: dict[str, object] = {"repeats": repeats, "emitters": len(emitters_once), "jaccard": judged.score.jaccard}
    for name, agreements in (("sigma", judged.sigmas), ("crlb", alone(judged.comparison, truth, s, bundle))):
        line |= {f"correlation_{name}_{each.quantity}": round(each.emitter_correlation, 3) for each in agreements}
    line |= {f"zscore_{each.quantity}": round(each.zscore, 3) for each in judged.sigmas if each.zscore > 0}
    return {**line, "emitters_found_often": judged.sigmas[0].num_emitters}


def scene(s: SimulationConfig, bg: float, generator: torch.Generator) -> tuple[torch.Tensor, Emitters]:
    """Return the expected photons (S, T, Y, X), and the emitters of each middle frame with their numbers as ids."""
    size = {"num_frames": FRAMES, "height": FIELD_PX, "width": FIELD_PX}
    radius = stamp_radius_px(s.psf, s.emitters.z_rendered_nm, s.pixel_size)
    molecules = sample_molecules(s, num_sequences=SEQUENCES, margin_px=radius, generator=generator, **size)
    z_range_nm = s.emitters.z_rendered_nm
    seen = expose(molecules, num_frames=FRAMES, geometry=None, illumination=s.illumination, z_range_nm=z_range_nm)
    expected = draw_photons(s, seen, num_sequences=SEQUENCES, **size) + bg
    (low, high), last_nm = s.emitters.z_range_nm, (FIELD_PX - 0.5) * s.pixel_size.x_nm
    inside = (seen.frame == FRAMES // 2) & (seen.z_nm >= low) & (seen.z_nm <= high)
    for place_nm in (seen.x_nm, seen.y_nm):
        inside &= (place_nm >= -0.5 * s.pixel_size.x_nm) & (place_nm < last_nm)
    seen = seen.select(inside)
    columns = {name: getattr(seen, name).double().numpy() for name in ("x_nm", "y_nm", "z_nm", "photons")}
    count = len(seen.frame)
    columns |= {"frame": seen.sequence.numpy(), "bg": np.full(count, bg), "id": np.arange(count)}
    return expected, Emitters.from_columns(columns)


def alone(found: Comparison, truth: Emitters, s: SimulationConfig, bundle: ModelBundle) -> tuple[SigmaAgreement, ...]:
    """Return the agreement of the errors with the bounds of isolated emitters."""
    bounds = with_bounds(truth.select(found.true_rows), s.psf, camera=bundle.info.camera, pixel=s.pixel_size)
    sigmas = {name: getattr(bounds, name) for name in ("x_sig", "y_sig", "z_sig", "phot_sig")}
    return sigma_agreements(replace(found, seen=replace(found.seen, **sigmas)))


if __name__ == "__main__":
    main()
