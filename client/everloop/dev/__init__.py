"""The supervisor behind `everloop dev`: every process of Everloop on one machine, on loopback.

It starts them in order, says when each is ready, restarts what dies, and stops them in reverse.
`serve.run` is the whole of it; `state` is what other commands read of it.
"""
