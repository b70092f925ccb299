"""The activities of `RunHarness`, and the Nexus service that starts it."""

from activities.runs.activities import RunActivities
from activities.runs.agents import AgentActivities
from activities.runs.nexus import HarnessHandler

__all__ = ["AgentActivities", "HarnessHandler", "RunActivities"]
