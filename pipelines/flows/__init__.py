"""Workflows of one process, without the run loop: demo, preview, evaluation, spike-in, presets."""
