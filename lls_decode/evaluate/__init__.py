"""Does a table agree with the truth: matching, scores, and reading of other people's truth tables."""

from lls_decode.evaluate.matching import Matches, match
from lls_decode.evaluate.score import Score, score
from lls_decode.evaluate.truth import read_truth

__all__ = ["Matches", "Score", "match", "read_truth", "score"]
