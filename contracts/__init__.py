"""Pure values that every room shares: no I/O, no clock, no randomness.

`ids` names things, `harness` is an agent's definition, `messages` the conversation, `events` the
log of a session, `turn` what crosses the boundary between workflow and activities, `tools` and
`environment` what an agent may use, `errors` what can go wrong, `settings` how a process is
configured.
"""
