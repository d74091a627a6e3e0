"""Localize."""
