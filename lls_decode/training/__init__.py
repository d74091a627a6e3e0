"""Training of the localization network on simulated frames."""

from lls_decode.training.train import TrainingResult, Validator, train

__all__ = ["TrainingResult", "Validator", "train"]
