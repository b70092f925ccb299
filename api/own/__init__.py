"""What Everloop serves beside AWS's operations: everything under `/everloop/v1/`.

Requests and answers are JSON with camelCase names, errors look as AWS's do.
"""

from api.own.routing import answer_own, answer_socket, is_own

__all__ = ["answer_own", "answer_socket", "is_own"]
