"""Workflows outside of the run loop: demo, preview, evaluation, spike-in, presets."""
