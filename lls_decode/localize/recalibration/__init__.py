"""Calibration of a model's sigmas, probabilities and error correlations on simulated frames."""
