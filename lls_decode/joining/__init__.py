"""Joining of tables: acquisitions one after another, or the channels of one acquisition."""

from lls_decode.joining.join import Joined, JoinedInput, join_tables

__all__ = ["Joined", "JoinedInput", "join_tables"]
