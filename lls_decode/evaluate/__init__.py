"""Agreement of a table with a truth, and with itself: matching, scores, sigmas, resolution, truths of other formats."""

from lls_decode.evaluate.evaluation import Evaluation, evaluate
from lls_decode.evaluate.frc import FourierCorrelation, fourier_correlation
from lls_decode.evaluate.matching import Matches, match
from lls_decode.evaluate.rmsmd import Rmsmd, rmsmd
from lls_decode.evaluate.score import Score, compare, score
from lls_decode.evaluate.seams import CutCounts, block_cuts, tile_cuts
from lls_decode.evaluate.spikes import (
    SpikeBin,
    SpikeMap,
    SpikeMatches,
    SpikeReport,
    SpikeRows,
    SpikeScore,
    match_spikes,
    own_density,
    recall_interval,
    score_field,
    score_over,
    score_spikes,
)
from lls_decode.evaluate.subpixel import SubpixelBias, SubpixelCounts, subpixel_bias
from lls_decode.evaluate.summary import TableSummary
from lls_decode.evaluate.truth import read_truth

__all__ = [
    "CutCounts",
    "Evaluation",
    "FourierCorrelation",
    "Matches",
    "Rmsmd",
    "Score",
    "SpikeBin",
    "SpikeMap",
    "SpikeMatches",
    "SpikeReport",
    "SpikeRows",
    "SpikeScore",
    "SubpixelBias",
    "SubpixelCounts",
    "TableSummary",
    "block_cuts",
    "compare",
    "evaluate",
    "fourier_correlation",
    "match",
    "match_spikes",
    "own_density",
    "read_truth",
    "recall_interval",
    "rmsmd",
    "score",
    "score_field",
    "score_over",
    "score_spikes",
    "subpixel_bias",
    "tile_cuts",
]
