"""Load over HTTP/1.1 from many clients at once, with as little work of its own as Python allows."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec


class Load(msgspec.Struct):
    """What came of a load."""

    requests: int
    seconds: float
    latencies: list[float]
    """Seconds of each request, unordered."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def post(url: str, key: str, path: str, bodies: Callable[[int], bytes], clients: int, seconds: float) -> Load:
    """POST `bodies(n)`, n counting up, from `clients` connections. Any answer but 2xx ends it."""
    return asyncio.run(_post(url, key, path, bodies, clients, seconds))


async def _post(
    url: str, key: str, path: str, bodies: Callable[[int], bytes], clients: int, seconds: float
) -> Load:
    address = urlsplit(url)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    latencies: list[float] = []
    counter = iter(range(10**9))
    started = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        while time.perf_counter() - started < seconds:
            body = bodies(next(counter))
            sent = time.perf_counter()
            writer.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            content = await reader.readexactly(length)
            if not answer.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(f"refused: {answer!r} {content!r}")
            latencies.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(len(latencies), time.perf_counter() - started, latencies)
