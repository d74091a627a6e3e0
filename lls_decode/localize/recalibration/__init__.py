"""How large the errors of a model are: its sigmas, probabilities and correlations, measured on simulated frames."""
