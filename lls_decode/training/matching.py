"""Loss that matches predictions and emitters one to one, by optimal transport.

The idea of matching them by optimal transport is from Seailles, Masson, Ponce, Mairal, "Optimal transport unlocks
end-to-end learning for single-molecule localization" (arXiv 2512.10683). The equations are derived here. Let every
pixel k predict one emitter with probability p_k and density q_k, independently of the others. If the prediction of
pixel k(i) is emitter i, the negative log-likelihood of a frame is

    sum_k -log(1 - p_k) + sum_i D_{k(i) i},    D_ki = -log(p_k / (1 - p_k)) - log q_k(u_i).

The matching k(i) is relaxed to a transport plan T_ki: every emitter has the mass 1, a pixel has at most the mass 1, and
the rest of its mass predicts nothing, at no cost. The plan minimizes sum_ki T_ki D_ki minus its entropy, and is found
by Sinkhorn iterations (Cuturi 2013). At the minimum the gradient with respect to D is the plan itself, so the plan is
held fixed when the loss is differentiated. This loss replaces the count and the localization loss of the paper.

Shape letters: ``E`` emitters, ``K`` pixels around an emitter.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lls_decode.model.network import OutputMaps
from lls_decode.simulate import Targets
from lls_decode.training.loss import Losses, limited, pixels_near_emitters

_REACH_PX = 3
"""Distance of pixels that can be matched with an emitter; a pixel predicts emitters at most one pixel away."""
_ITERATIONS = 10
"""A hundredth of an emitter's mass is then misplaced; fifty iterations would take as long as half a training step."""


def matching_loss(maps: OutputMaps, targets: Targets) -> Losses:
    """Return the losses of one batch per emitter; ``count`` is the part of the probabilities."""
    logit = limited(maps.logit)
    near = pixels_near_emitters(maps, targets, logit, _REACH_PX)
    with torch.no_grad():
        gain_EK = (near.value_EK + near.log_density_EK).masked_fill(~near.inside_EK, -torch.inf)
        plan_EK = transport_plan(gain_EK, near.pixel_EK, logit.numel())
    num = max(len(targets.window), 1)
    finite_EK = near.log_density_EK.masked_fill(~near.inside_EK, 0.0)
    count = (F.softplus(logit).sum() - (plan_EK * near.value_EK).sum()) / num
    localization = -(plan_EK * finite_EK).sum() / num
    background = ((maps.bg - targets.bg_NYX) ** 2).sum() / num
    return Losses(count, localization, background)


def transport_plan(gain_EK: Tensor, pixel_EK: Tensor, num_pixels: int) -> Tensor:
    """Return the plan (E, K) with the largest sum of gain and entropy, by Sinkhorn iterations.

    The masses of each emitter add up to 1. The masses of each pixel add up to at most 1; the rest has no gain. With
    this weight of the entropy the masses approximate the probabilities of the matchings.
    """
    of_pixel = gain_EK.new_zeros(num_pixels)
    index = pixel_EK.flatten()
    of_emitter = -torch.logsumexp(gain_EK, dim=1)
    for _ in range(_ITERATIONS):
        mass = (gain_EK + of_emitter[:, None]).flatten()
        largest = torch.zeros_like(of_pixel).scatter_reduce(0, index, mass, "amax")  # includes the 0 of the rest
        total = torch.exp(-largest).scatter_add(0, index, torch.exp(mass - largest[index]))
        of_pixel = -(largest + torch.log(total))
        of_emitter = -torch.logsumexp(gain_EK + of_pixel[pixel_EK], dim=1)
    return torch.exp(gain_EK + of_emitter[:, None] + of_pixel[pixel_EK])
