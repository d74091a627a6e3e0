"""Distillation loss: difference between the output maps of a student and of its teacher, pixel by pixel.

probability   cross-entropy with the teacher's probability minus the teacher's entropy; sum over pixels
localization  Kullback-Leibler divergence of the student's Gaussians (x, y, z, photons) from the teacher's, weighted
              by the teacher's probability
background    squared difference, sum over pixels

All terms are divided by the number of emitters that the teacher predicts, and are 0 where both agree. These are soft
targets as in Hinton et al. (arXiv 1503.02531): unlike the truth, the teacher tells how certain each pixel is.

Shape letters: ``N`` windows, ``Y X`` pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lls_decode.model.network import OutputMaps
from lls_decode.training.loss import Losses, limited

_GAUSSIANS = ("x", "y", "z", "photons")


def distillation_loss(student: OutputMaps, teacher: OutputMaps) -> Losses:
    """Return the distillation losses; both maps are in the same network units, the teacher's without gradient."""
    p_NYX = teacher.probability
    seen = p_NYX.sum().clamp_min(1.0)
    entropy = F.binary_cross_entropy(p_NYX, p_NYX, reduction="sum")
    count = F.binary_cross_entropy_with_logits(limited(student.logit), p_NYX, reduction="sum") - entropy
    divergence_NYX = torch.stack([_divergence(student, teacher, name) for name in _GAUSSIANS]).sum(dim=0)
    background = ((student.bg - teacher.bg) ** 2).sum()
    return Losses(count / seen, (p_NYX * divergence_NYX).sum() / seen, background / seen)


def _divergence(student: OutputMaps, teacher: OutputMaps, name: str) -> Tensor:
    """Return the Kullback-Leibler divergence between Gaussians of teacher and student, (N, Y, X)."""
    mean, sigma = getattr(student, name), getattr(student, f"{name}_sig")
    wanted, spread = getattr(teacher, name), getattr(teacher, f"{name}_sig")
    distance: Tensor = torch.log(sigma / spread) + (spread**2 + (wanted - mean) ** 2) / (2 * sigma**2) - 0.5
    return distance
