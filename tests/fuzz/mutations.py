"""Changes by chance: of bytes, of text, of nested data."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

NUMBERS: list[Any] = [
    0, -1, 1, 2, 7, 100, 2**31, 2**32, 2**63, 2**64, -(2**70), 10**30, 10**308, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e308,
    -1e308, float("nan"), float("inf"), float("-inf"), True, False,
]  # fmt: skip
TEXTS = [
    "", " ", "0", "-1", "1e5", "nan", "inf", "1_000", "٣", "²", "ce", "digits", "native", "IF20", "a" * 300, "a\nb",
    "\x1b[31m", "\x00", "\ufeffce", "\u202e", "é", "e\u0301", "../../etc/passwd", "/etc/passwd", "=1+1", "<b>", "\\x",
    "ok", "failed", "test", "balanced_accuracy", "%s", "{}", "\ud800", "🙂", "None", "null", "true", "1,5", "--help",
]  # fmt: skip
BYTES = [b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\n", b"\r", b'"', b",", b"{", b"[", b"}", b"NaN", b"1e999", b"\xc3"]


def any_value(rng: random.Random, depth: int = 0) -> Any:
    """A value of JSON, mostly small."""
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind < 3:
        return rng.choice(NUMBERS)
    if kind < 5:
        return rng.choice(TEXTS)
    if kind == 5:
        return None
    if kind == 6:
        return [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(TEXTS): any_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of nested data."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [found for key, child in items for found in [(node, key), *_places(child)]]


def changed_data(rng: random.Random, data: Any) -> Any:
    """Nested data in which one to three things are other than they were."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = _places(data)
        if not places:
            return any_value(rng)
        holder, key = rng.choice(places)
        what = rng.randrange(6)
        if what < 3:
            holder[key] = any_value(rng)
        elif what == 3:
            del holder[key]
        elif what == 4 and isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = holder.pop(key)
        else:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place]) if place in _keys(other) else None
    return data


def _keys(holder: Any) -> Any:
    return holder if isinstance(holder, dict) else range(len(holder))


def changed_text(rng: random.Random, text: str) -> str:
    """Text in which one to three words are other ones, are gone or there twice."""
    tokens = re.findall(r"[\w.+-]+|\s+|[^\w\s]", text)
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(tokens))
        tokens[at] = rng.choice([rng.choice(TEXTS), str(rng.choice(NUMBERS)), "", tokens[at] * 2, rng.choice(tokens)])
    return "".join(tokens)


def changed_bytes(rng: random.Random, whole: bytes) -> bytes:
    """Bytes that were cut, or of which some are other ones."""
    what = rng.randrange(4)
    at = rng.randrange(len(whole) + 1)
    if what == 0:
        return whole[:at]
    if what == 1:
        return whole[:at] + rng.choice(BYTES) + whole[at:]
    if what == 2:
        return whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]
    return whole[:at] + whole[min(len(whole), at + rng.randrange(1, 40)) :]


def changed_json(rng: random.Random, data: Any) -> bytes:
    """JSON as somebody may have changed it: mostly JSON still."""
    what = rng.randrange(20)
    if what == 0:
        return rng.choice([b"", b"null", b"[]", b"5", b'"x"', b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe\x00"])
    if what == 1:
        return changed_bytes(rng, json.dumps(data).encode())
    if what == 2:
        return b"\xef\xbb\xbf" + json.dumps(data).encode()
    return json.dumps(changed_data(rng, data)).encode()


def has_only_finite_numbers(value: Any) -> bool:
    """Nested data without NaN and infinity."""
    if isinstance(value, dict):
        return all(map(has_only_finite_numbers, value.values()))
    if isinstance(value, list | tuple):
        return all(map(has_only_finite_numbers, value))
    return not isinstance(value, float) or abs(value) < float("inf")
