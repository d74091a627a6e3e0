"""Statistics that a few outliers do not move."""

from typing import Final

MAD_TO_SD: Final = 1.4826
"""Standard deviation of normally distributed values, over their median absolute deviation."""
