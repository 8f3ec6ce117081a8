"""Damage to JSON files: random changes of structure and of bytes, the same for every seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

#: What a value is replaced with: every type, and values that break arithmetic or drawing.
REPLACEMENTS: tuple[Any, ...] = (
    None, True, False, 0, -1, -0.5, 1e300, 10**400, float("nan"), float("inf"), float("-inf"),
    "", "x", "\x1b[31m\u202e=1+1\r\n", "\ud800", [], {},
    [None], [[[]]], {"": None}, {"a": {"b": 1}},
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a JSON object but the whole."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    paths = []
    for key, item in items:
        paths.append((*path, key))
        if isinstance(item, dict | list):
            paths += places(item, (*path, key))
    return paths


def kinds(value: Any) -> list[list[tuple[Any, ...]]]:
    """Return the paths of a JSON object by their kind: equal but for the index in a list."""
    by_kind: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for path in places(value):
        kind = tuple("*" if isinstance(key, int) else key for key in path)
        by_kind.setdefault(kind, []).append(path)
    return list(by_kind.values())


def mutated(value: Any, seed: int) -> Any:
    """Return a JSON object with one value deleted, doubled, replaced, wrapped or exchanged.

    Every kind of place is hit as often as any other, however long the lists are.
    """
    chance = random.Random(seed)
    result = copy.deepcopy(value)
    path = chance.choice(chance.choice(kinds(result)))
    holder = result
    for key in path[:-1]:
        holder = holder[key]
    key, action = path[-1], chance.randrange(6)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif action == 2:
        holder[key] = [holder[key]]
    elif action == 3:
        other = chance.choice(chance.choice(kinds(value)))
        value_there = value
        for step in other:
            value_there = value_there[step]
        holder[key] = copy.deepcopy(value_there)
    else:
        holder[key] = copy.deepcopy(chance.choice(REPLACEMENTS))
    return result


def damaged_bytes(content: bytes, seed: int) -> bytes:
    """Return a file's bytes with a bit flipped, a piece missing, or cut off."""
    chance = random.Random(seed)
    at = chance.randrange(len(content))
    action = chance.randrange(4)
    if action == 0:
        return content[:at]
    if action == 1:
        return content[:at] + content[at + chance.randrange(1, 40) :]
    flipped = bytearray(content)
    for _ in range(1 if action == 2 else 5):
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def damaged(value: Any, seed: int) -> bytes:
    """Return a damaged file: every fourth by its bytes, the others by their structure."""
    content = json.dumps(value).encode()
    if seed % 4 == 0:
        return damaged_bytes(content, seed)
    return json.dumps(mutated(value, seed)).encode()
