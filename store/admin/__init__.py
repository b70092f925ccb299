"""What an operator does to the vault from the machine that has database and key ring.

`python -m store.admin`; the `everloop` command offers the same words. None of it goes over the
wire: whoever can run it holds the master keys already.
"""
