"""The activities of `RunHarness`, and the Nexus service that starts it."""

from activities.runs.activities import RunActivities

__all__ = ["RunActivities"]
