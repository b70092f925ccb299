"""Everloop's client: what a caller installs beside their own code."""

from everloop.types import StopReason, TokenUsage

__all__ = ["StopReason", "TokenUsage"]
