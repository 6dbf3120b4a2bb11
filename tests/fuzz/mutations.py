"""Mutations of bytes, text and JSON values; a `random.Random` makes them all repeatable."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

MAGIC = [
    b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff",
    b"\0\0\0\0", b"\x80\0\0\0", b"\xff" * 8, b"\0" * 8,
]  # fmt: skip
WORDS = [
    "", "-1", "0", "1e999", "nan", "inf", "-inf", "99999999999999999999", "9223372036854775808",
    "-9223372036854775809", "1.5", "１２", "٣", "true", "null", "None", "\0", "\x1b[2J", '"', '""',
    "'", ";", "\t", "\r\n", "\n", "../../etc/passwd", "/etc/passwd", "C:\\x", "=cmd|x", "\ud7ff",
    "é", "\u202e", "a" * 70_000, "2026-13-45", "0001-01-01", "9999-12-31T23:59:59", "2026-02-30",
    "1767225600000", "-62135596801", "[", "]", "{}", "[]", '{"a":1}', "visible", "thermal", "train",
    "query", "~", "%s", "${x}", "NaN", "Infinity", "1_000", "+5", "0x10", " 7 ", "1e5",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, float("nan"), float("inf"),
    "", [], {}, [[]], {"a": {}}, "x", "/etc/passwd", [1] * 3, "1", 0.5, -0.0, *WORDS[:30],
]  # fmt: skip


def of_bytes(r: random.Random, content: bytes, count: int | None = None) -> bytes:
    """Bits flipped, bytes removed, added, repeated, cut off."""
    out = bytearray(content)
    for _ in range(count or r.choice([1, 1, 2, 3, 5, 10, 30])):
        length = len(out)
        if not length:
            out = bytearray(r.randbytes(8))
            continue
        kind = r.randrange(9)
        i = r.randrange(min(length, r.choice([64, 256, 2048, length])) or 1)
        if kind == 0:
            out[i] ^= 1 << r.randrange(8)
        elif kind == 1:
            out[i] = r.randrange(256)
        elif kind == 2:
            del out[i : i + r.choice([1, 2, 4, 16, 256])]
        elif kind == 3:
            out[i:i] = r.randbytes(r.choice([1, 2, 4, 16, 256]))
        elif kind == 4:
            magic = r.choice(MAGIC)
            out[i : i + len(magic)] = magic
        elif kind == 5:
            del out[i:]
        elif kind == 6:
            j = r.randrange(length)
            out[i : i + 16] = out[j : j + 16]
        elif kind == 7:
            out[i:i] = out[i : i + r.choice([4, 64, 512])]
        else:
            out += r.randbytes(r.choice([1, 100]))
    return bytes(out)


def of_text(r: random.Random, text: str, separators: str = ",\n \t") -> bytes:
    """Cells replaced, added, removed, swapped; now and then bytes as well."""
    for _ in range(r.choice([1, 1, 2, 3, 8])):
        parts = re.split(f"([{re.escape(separators)}])", text)
        kind, i = r.randrange(7), r.randrange(len(parts))
        if kind <= 2:
            parts[i] = r.choice(WORDS)
        elif kind == 3:
            parts.insert(i, r.choice(WORDS))
        elif kind == 4:
            del parts[i]
        elif kind == 5:
            parts.insert(i, parts[r.randrange(len(parts))])
        else:
            j = r.randrange(len(parts))
            parts[i], parts[j] = parts[j], parts[i]
        text = "".join(parts)
    content = text.encode("utf-8", "surrogatepass")
    return of_bytes(r, content, 1) if r.random() < 0.25 else content


def of_value(r: random.Random, value: Any, more: list[Any] = []) -> Any:  # noqa: B006 - read only
    """A JSON value with keys removed or renamed, and values replaced by `VALUES` or `more`."""
    value = json.loads(json.dumps(value))
    for _ in range(r.choice([1, 1, 2, 4])):
        node = value
        while isinstance(node, (dict, list)) and node:
            key: Any = r.choice(list(node)) if isinstance(node, dict) else r.randrange(len(node))
            inner = node[key]
            if isinstance(inner, (dict, list)) and inner and r.random() >= 0.3:
                node = inner
                continue
            what = r.random()
            if what < 0.15:
                del node[key]
            elif what < 0.25 and isinstance(node, dict):
                node[r.choice(WORDS)[:50]] = node.pop(key)
            else:
                node[key] = copy.deepcopy(r.choice([*VALUES, *more]))
            break
    return value
