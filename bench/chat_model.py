"""A chat model that costs nothing: streams the same pieces to everybody, as fast as it is told to.

python -m bench.chat_model PORT
"""

import asyncio
import json
import sys

from bench.chat import PAUSE_SECONDS, PIECES


def _chunk(data: str) -> bytes:
    event = f"data: {data}\n\n".encode()
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


PIECE = _chunk(json.dumps({"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}))
LAST = _chunk(json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r")[0]))
            writer.write(HEAD)
            for _ in range(PIECES):
                writer.write(PIECE)
                await writer.drain()
                await asyncio.sleep(PAUSE_SECONDS)
            writer.write(LAST + _chunk("[DONE]") + b"0\r\n\r\n")
            if b"connection: close" in head:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
