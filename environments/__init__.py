"""Where an agent's commands run.

`agentd` and its siblings `agentd_*` are the daemon inside every environment: standard library only,
and Python 3.9, because they run on whatever Python an image has. `provider` is what a kind of
environment must offer, `bubblewrap` the local kind, `channel` how we speak to agentd, `host` the
owner of one machine's environments.
"""
