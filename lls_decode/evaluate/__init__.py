"""Does a table agree with the truth: matching, scores, and reading of other people's truth tables."""

from lls_decode.evaluate.matching import Matches, match
from lls_decode.evaluate.score import Score, score
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
from lls_decode.evaluate.truth import read_truth

__all__ = [
    "Matches",
    "Score",
    "SpikeBin",
    "SpikeMap",
    "SpikeMatches",
    "SpikeReport",
    "SpikeRows",
    "SpikeScore",
    "match",
    "match_spikes",
    "own_density",
    "read_truth",
    "recall_interval",
    "score",
    "score_field",
    "score_over",
    "score_spikes",
]
