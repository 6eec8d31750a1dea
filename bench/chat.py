"""Chats against their own floor, in one run: the same model, asked directly.

    python -m bench.chat [--turns 100] [--streams 50] [--seconds 20] [--json]

The model is a scripted endpoint in a process of its own that streams 40 pieces, one every 5 ms. Measured is
the time to the first piece of the answer, of the model itself and through Everlog, which recalls memories of
a hundred, keeps question and answer, and learns from the turn; then many streams at once.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

from bench import load
from bench.stand import Stand, answers, free_port, stand

PIECES = 40
PAUSE_SECONDS = 0.005
MEMORIES = 100


class Timed(msgspec.Struct):
    """One stream, in seconds from its request on."""

    first: float
    whole: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    port = free_port()
    model = f"http://127.0.0.1:{port}/v1"
    endpoint = subprocess.Popen([sys.executable, "-m", "bench.chat_model", str(port)])
    try:
        more = {"openai_base_url": model, "openai_api_key": "none", "extractor": "rules"}
        with stand(**more) as made:
            made.run("worker")
            answers(f"{made.url}/health/ready")
            _remember(made)
            result = asyncio.run(_measure(made, model, options.turns, options.streams, options.seconds))
    finally:
        endpoint.terminate()
        endpoint.wait(10)
    if options.json:
        print(msgspec.json.encode(result).decode())
    else:
        print("\n".join(f"{name:28} {value}" for name, value in result.items()))


def _remember(made: Stand) -> None:
    texts = iter(range(MEMORIES))

    def body(_: int) -> bytes:
        text = f"The user likes dish number {next(texts, 0)} of the menu"
        return msgspec.json.encode({"messages": [{"role": "user", "content": text}], "infer": False})

    load.post(made.url, made.key, "/v1/memories", body, 1, 1.0)


async def _measure(made: Stand, model: str, turns: int, streams: int, seconds: float) -> dict[str, float]:
    direct, through = [], []
    for n in range(turns):
        direct.append(await _direct(model, n))
        through.append(await _through(made, n))
    many: list[Timed] = []
    ends = time.perf_counter() + seconds

    async def client(number: int) -> None:
        while time.perf_counter() < ends:
            many.append(await _through(made, number))

    await asyncio.gather(*(client(n) for n in range(streams)))
    firsts = sorted(each.first for each in many)
    floor, ours = (statistics.median(each.first for each in one) for one in (direct, through))
    return {
        "model_first_piece_p50_ms": round(1000 * floor, 2),
        "chat_first_piece_p50_ms": round(1000 * ours, 2),
        "added_ms": round(1000 * (ours - floor), 2),
        "whole_ratio_p50": round(_whole(through) / _whole(direct), 3),
        "streams": streams,
        "turns_per_second": round(len(many) / seconds, 1),
        "first_piece_p50_ms_of_many": round(1000 * firsts[len(firsts) // 2], 1),
        "first_piece_p95_ms_of_many": round(1000 * firsts[int(0.95 * len(firsts))], 1),
    }


def _whole(timed: list[Timed]) -> float:
    return statistics.median(each.whole for each in timed)


async def _direct(model: str, number: int) -> Timed:
    body = {"stream": True, "messages": [{"role": "user", "content": f"Question {number}"}]}
    return await _timed(f"{model}/chat/completions", "", body, b'"content"')


async def _through(made: Stand, number: int) -> Timed:
    return await _timed(f"{made.url}/api/chat", made.key, {"q": f"Question {number}"}, b'"message"')


async def _timed(url: str, key: str, body: dict[str, object], mark: bytes) -> Timed:
    """The times of one stream; its first piece is the first chunk with `mark` in it."""
    started = time.perf_counter()
    first, chunks = 0.0, 0
    async for chunk in _stream(url, key, msgspec.json.encode(body)):
        chunks += 1
        if not first and mark in chunk:
            first = time.perf_counter() - started
    if not first:
        raise RuntimeError(f"no answer in {chunks} chunks of {url}")
    return Timed(first, time.perf_counter() - started)


async def _stream(url: str, key: str, body: bytes) -> AsyncIterator[bytes]:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"refused: {head!r}")
    while chunk := await reader.read(1 << 16):
        yield chunk
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


if __name__ == "__main__":
    main()
