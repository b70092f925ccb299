"""Deterministic orchestration: the session and its turns."""
