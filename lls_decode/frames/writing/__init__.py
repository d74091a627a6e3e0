"""Stores that this program writes: their layout, and the checksums that they carry."""
