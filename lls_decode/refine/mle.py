"""Maximum-likelihood fits of single emitters, many at once: damped Fisher scoring (Levenberg-Marquardt) in torch.

Light is counted in photo-electrons; noise is Poisson, with the read noise of each pixel as in `lls_decode.refine.crlb`.
Each fit starts at several z, since a spot may look similar at different z. After a few steps, only the fit with the
largest likelihood continues.

Shape letters: ``E`` emitters, ``Y X`` pixels of a region of interest, ``P`` parameters, ``K`` starts.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from lls_decode.optics import PsfModel
from lls_decode.refine.crlb import Spots, Variance, bound, expected_and_slopes, fisher_information, free_parameters

_START_STEPS = 4
_START_SPACING_NM = 250.0
_SMALL_STEP = 1e-3
"""Largest step of any parameter, in units of its standard deviation, at which a fit has converged."""
_EQUAL_LIKELIHOOD = 1e-5
"""Difference below which log-likelihoods count as equal, because splines are summed in float32."""
_ROWS_AT_ONCE = {"cpu": 256}
"""Number of fits optimized together, chosen so that their data fit into the processor's cache."""
_ROWS_ON_A_DEVICE = 16384
_LEAST_PHOTONS = 1.0
_LEAST_BG = 1e-3


@dataclass(frozen=True)
class SpotFits:
    """Fitted emitters; all fields (E,)."""

    spots: Spots
    sigmas: Spots
    """Cramer-Rao bound at the fitted parameters."""
    log_likelihood: Tensor
    """Log-likelihood of the data at the fitted parameters, including the constant term."""
    converged: Tensor


def fit_spots(
    model: PsfModel,
    electrons_EYX: Tensor,
    *,
    variance: Variance = 0.0,
    z_starts_nm: tuple[float, ...] | None = None,
    max_steps: int = 60,
) -> SpotFits:
    """Fit one emitter and a constant background to every region of interest.

    Parameters
    ----------
    model
        PSF on the device of the data.
    electrons_EYX
        Photo-electrons, (counts - offset) / gain, including the background.
    variance
        Read noise variance, electrons squared.
    z_starts_nm
        Starting values of z; by default every 250 nm over the PSF's range.
    max_steps
        Number of steps after which a fit stops without convergence.
    """
    electrons = electrons_EYX.to(torch.float64)
    noise = torch.as_tensor(variance, dtype=torch.float64, device=electrons.device).expand(electrons.shape)
    if z_starts_nm is None:
        z_starts_nm = _spread_starts(model)
    size = max(1, _ROWS_AT_ONCE.get(electrons.device.type, _ROWS_ON_A_DEVICE) // len(z_starts_nm))
    pieces = [slice(start, start + size) for start in range(0, max(1, len(electrons)), size)]
    parts = [_fit_some(model, electrons[piece], noise[piece], z_starts_nm, max_steps) for piece in pieces]
    spots, sigmas, likelihood, converged = (torch.cat(values) for values in zip(*parts, strict=True))
    return SpotFits(Spots.unstack(spots), Spots.unstack(sigmas), likelihood, converged)


def _spread_starts(model: PsfModel) -> tuple[float, ...]:
    if model.z_range_nm is None:
        return (0.0,)
    low, high = model.z_range_nm
    count = max(2, math.ceil((high - low) / _START_SPACING_NM))
    return tuple(low + (high - low) * (k + 0.5) / count for k in range(count))


def _fit_some(
    model: PsfModel, electrons: Tensor, noise: Tensor, z_starts_nm: tuple[float, ...], max_steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit one batch; return parameters, Cramer-Rao bounds, log-likelihood and convergence flags."""
    K, E = len(z_starts_nm), len(electrons)
    fit = _Fit(model, electrons.repeat(K, 1, 1), noise.repeat(K, 1, 1))
    first = _guess(electrons).repeat(K, 1)
    first[:, 2] = torch.tensor(z_starts_nm, dtype=torch.float64, device=first.device).repeat_interleave(E)
    if K > 1:
        spots, likelihood, _ = fit.climb(first, max_steps=_START_STEPS)
        best = likelihood.view(K, E).argmax(dim=0) * E + torch.arange(E, device=spots.device)
        first, fit = spots[best], _Fit(model, electrons, noise)
    spots, likelihood, converged = fit.climb(first, max_steps=max_steps)
    _, _, information = fit.look(spots, torch.arange(E, device=spots.device))
    return spots, bound(information, fit.free), likelihood, converged


def _guess(electrons: Tensor) -> Tensor:
    """Return starting parameters (E, P): background of the rim, light above it, centre of the bright part."""
    Y, X = electrons.shape[1:]
    rim = torch.ones(Y, X, dtype=torch.bool, device=electrons.device)
    rim[1:-1, 1:-1] = False
    bg = electrons[:, rim].median(dim=1).values.clamp_min(_LEAST_BG)
    photons = (electrons - bg[:, None, None]).sum(dim=(1, 2)).clamp_min(10.0)
    smooth = avg_pool2d(electrons[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0] - bg[:, None, None]
    bright = (smooth - 0.25 * smooth.amax(dim=(1, 2), keepdim=True)).clamp_min(0)
    total = bright.sum(dim=(1, 2)).clamp_min(1e-9)
    x = (bright.sum(dim=1) * torch.arange(X, device=bg.device)).sum(dim=1) / total
    y = (bright.sum(dim=2) * torch.arange(Y, device=bg.device)).sum(dim=1) / total
    return torch.stack([x, y, torch.zeros_like(x), photons, bg], dim=1)


class _Fit:
    """Joint fit of several regions of interest."""

    def __init__(self, model: PsfModel, electrons: Tensor, noise: Tensor) -> None:
        self._model, self._noise = model, noise
        self._seen = (electrons + noise).clamp_min(0)
        self._constant = torch.lgamma(self._seen + 1).sum(dim=(1, 2))
        self.free = free_parameters(model).to(electrons.device)
        low_z, high_z = model.z_range_nm or (-math.inf, math.inf)
        Y, X = electrons.shape[1:]
        limits = [(0.0, X - 1.0), (0.0, Y - 1.0), (low_z, high_z), (_LEAST_PHOTONS, math.inf), (_LEAST_BG, math.inf)]
        self._low, self._high = torch.tensor(limits, dtype=torch.float64, device=electrons.device).T

    def look(self, spots: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-likelihood (E,), its gradient (E, P) and the Fisher information (E, P, P)."""
        seen, noise = self._seen[rows], self._noise[rows]
        mean, slopes = expected_and_slopes(self._model, spots, height=seen.shape[1], width=seen.shape[2])
        expected = mean + noise
        likelihood = (torch.xlogy(seen, expected) - expected).sum(dim=(1, 2)) - self._constant[rows]
        gradient = (slopes.flatten(2) @ (seen / expected - 1).flatten(1)[:, :, None])[:, :, 0]
        return likelihood, gradient, fisher_information(mean, slopes, noise)

    def climb(self, spots: Tensor, *, max_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Maximize the likelihood; return parameters, log-likelihood and convergence flags."""
        spots = spots.clamp(self._low, self._high)
        rows = torch.arange(len(spots), device=spots.device)
        likelihood, gradient, information = self.look(spots, rows)
        damping = torch.full_like(likelihood, 0.1)
        converged = torch.zeros_like(rows, dtype=torch.bool)
        for _ in range(max_steps):
            here = spots[rows]
            there = (here + self._step(gradient[rows], information[rows], damping[rows])).clamp(self._low, self._high)
            new_likelihood, new_gradient, new_information = self.look(there, rows)
            better = new_likelihood >= likelihood[rows] - _EQUAL_LIKELIHOOD
            moved = (there - here).abs() * information[rows].diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
            converged[rows] = (moved[:, self.free] < _SMALL_STEP).all(dim=1) & (better | (damping[rows] < 1))
            up = rows[better]
            spots[up], likelihood[up] = there[better], new_likelihood[better]
            gradient[up], information[up] = new_gradient[better], new_information[better]
            damping[rows] = torch.where(better, damping[rows] * 0.1, damping[rows] * 10)
            rows = rows[~converged[rows] & (damping[rows] < 1e8)]
            if not len(rows):
                break
        return spots, likelihood, converged

    def _step(self, gradient: Tensor, information: Tensor, damping: Tensor) -> Tensor:
        """Return the damped step (E, P), which is 0 for parameters that are not free."""
        among = information[:, self.free][:, :, self.free]
        scale = among.diagonal(dim1=1, dim2=2).clamp_min(1e-30).sqrt()
        matrix = among / (scale[:, :, None] * scale[:, None, :])
        matrix = matrix + (damping[:, None] + 1e-9)[:, :, None] * torch.eye(len(self.free), device=matrix.device)
        solved, _ = torch.linalg.solve_ex(matrix, (gradient[:, self.free] / scale)[:, :, None])
        step = torch.zeros_like(gradient)
        step[:, self.free] = torch.nan_to_num(solved[:, :, 0] / scale)
        return step
