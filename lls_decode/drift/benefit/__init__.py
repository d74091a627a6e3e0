"""Whether a drift correction helps, judged by rows that the drift was not measured from."""
