"""Tools: which there are, and those that run in a session's environment."""
