"""Whether an environment that runs is still the one that is asked for."""

import hashlib
import json
from dataclasses import asdict

from contracts.environment import EnvironmentSpec


def spec_digest(spec: EnvironmentSpec) -> str:
    """What of a specification needs a new environment when it changes."""
    parts: list[object] = [
        spec.mount,
        asdict(spec.limits),
        [asdict(share) for share in spec.shares],
        spec.image,
        spec.subnets,
        spec.egress and spec.egress.model_dump(mode="json"),
    ]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
