"""Chat models that already run on this machine, behind OpenAI-compatible servers on their usual ports."""

import asyncio
import re
from collections.abc import Mapping

import httpx2
import msgspec

PORTS = {11434: "Ollama", 8080: "llama.cpp or LocalAI", 1234: "LM Studio", 8000: "vLLM", 1337: "Jan"}
SECONDS = 0.5
MAX_BYTES = 1_000_000
SAFE = re.compile(r"[\w.:/@+-]{1,200}", re.ASCII)
"""Names that can stand in a shell command as they are."""
NO_CHAT = re.compile(r"embed|rerank|whisper|bge-|minilm", re.IGNORECASE)


class Nearby(msgspec.Struct, frozen=True):
    """A server, and the first of its models that may chat."""

    server: str
    url: str
    model: str

    def line(self) -> str:
        """What to set for it."""
        return f"OPENAI_BASE_URL={self.url} EVERLOG_CHAT_MODEL={self.model}"


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def look(ports: Mapping[int, str]) -> list[Nearby]:
    """Ask all `ports` of loopback at once; what does not answer soon with a list of models is none."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        found = await asyncio.gather(*(_ask(client, port, server) for port, server in ports.items()))
    return [nearby for nearby in found if nearby]


async def _ask(client: httpx2.AsyncClient, port: int, server: str) -> Nearby | None:
    url = f"http://127.0.0.1:{port}/v1"
    try:
        async with asyncio.timeout(SECONDS):
            names = [model.id for model in (await _models(client, url)).data]
    except (TimeoutError, httpx2.HTTPError, msgspec.DecodeError, UnicodeError):
        return None
    usable = [name for name in names if SAFE.fullmatch(name) and not NO_CHAT.search(name)]
    return Nearby(server, url, usable[0]) if usable else None


async def _models(client: httpx2.AsyncClient, url: str) -> _Models:
    body = b""
    async with client.stream("GET", f"{url}/models") as response:
        response.raise_for_status()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_BYTES:
                break
    return msgspec.json.decode(body, type=_Models)
