"""Content hashes: equal meaning gives an equal id, and what has no exact meaning is an error."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

HASH_LENGTH = 12
PLAIN = (bool, int, str)


def canonical(value: Any) -> Any:
    """``value`` as plain JSON data with sorted keys.

    Raises:
        TypeError: for anything but None, bool, int, finite float, str, and mappings with string keys or sequences of
            those.  Falling back to ``str(value)`` would give different things one id, or one thing many.
    """
    if value is None or isinstance(value, PLAIN):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no canonical form; use a finite number")
        return value
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"key {wrong[0]!r} is not a string")
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, Sequence):
        return [canonical(item) for item in value]
    raise TypeError(f"{type(value).__name__} {value!r} cannot be part of an identity; use plain values")


def fingerprint(spec: Mapping[str, Any]) -> str:
    """First 12 hex digits of the sha256 of the canonical JSON of ``spec``."""
    payload = json.dumps(canonical(spec), separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(payload.encode()).hexdigest()[:HASH_LENGTH]


def readable_id(parts: Sequence[str], spec: Mapping[str, Any]) -> str:
    """``pgd-impersonate-id00012-5f0c...``: parts for people, the hash for certainty; safe as a file name."""
    return readable_prefix(parts) + fingerprint(spec)


def readable_prefix(parts: Sequence[str]) -> str:
    """What the ids of all specs with these first parts begin with."""
    return "".join(re.sub(r"[^A-Za-z0-9._]+", "_", part) + "-" for part in parts if part)
