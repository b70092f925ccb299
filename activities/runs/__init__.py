"""The activities of `RunHarness`, and the Nexus service that starts it."""

from activities.runs.activities import RunActivities
from activities.runs.nexus import HarnessHandler

__all__ = ["HarnessHandler", "RunActivities"]
