"""Pictures from any OpenAI-compatible images endpoint, verified and written anew as WebP."""

import asyncio
import base64
import binascii
import re

import msgspec
import openai
from openai import omit

from providers.models.endpoint import Endpoint
from providers.pictures import PictureRefused, data_uri

TIMEOUT_SECONDS = 120.0
"""Of one call; large pictures take a minute."""
DEADLINE_SECONDS = 240.0
"""Of one picture, with its retries."""
RETRIES = 1
"""Every one of them is paid for."""
REFUSING = {400, 413, 422}

MAX_BYTES = 20_000_000
MAX_ANSWER_BYTES = MAX_BYTES * 4 // 3 + 100_000
"""That picture in base64, and what the endpoint says around it."""

NOT_BASE64 = "the image endpoint answered something that is not base64"
ONLY_AN_ADDRESS = (
    "the image endpoint answered with an address only, which is not fetched: "
    "set EVERLOG_IMAGE_MODEL to a model that answers in base64"
)


class ImageUnavailable(Exception):
    """No picture now; another try may help."""


class ImageRefused(Exception):
    """The model or its endpoint will not paint this; trying it again helps none."""


class _Picture(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Answer(msgspec.Struct):
    data: list[_Picture]


class ImageModel:
    """Paints, or raises one of the two exceptions above.

    The texts of the exceptions, and of what a traceback prints with them, hold neither key nor prompt.
    """

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self.name = name
        self._client = endpoint.async_client(TIMEOUT_SECONDS, RETRIES)
        self._takes_format = True
        """gpt-image-1 takes no `response_format`, and answers base64 without being asked."""

    async def paint(self, prompt: str) -> str:
        """One picture as a data URI of WebP."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                body = await self._ask(prompt)
        except TimeoutError:
            raise ImageUnavailable("the image endpoint took too long") from None
        return await asyncio.to_thread(_written_anew, _picture(body))

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, prompt: str) -> bytes:
        try:
            return await self._generate(prompt)
        except openai.APIStatusError as error:
            if not (self._takes_format and _complains_of_format(error)):
                raise _failure(error) from None
            self._takes_format = False
            return await self._ask(prompt)
        except openai.OpenAIError as error:
            raise ImageUnavailable(f"no answer of the image endpoint: {type(error).__name__}") from None
        except UnicodeEncodeError as error:
            if error.encoding == "ascii":  # only headers are
                raise ImageUnavailable("the API key cannot be sent: it is not ASCII") from None
            raise ImageRefused("the text cannot be sent: it is not Unicode") from None

    async def _generate(self, prompt: str) -> bytes:
        body = bytearray()
        async with self._client.images.with_streaming_response.generate(
            model=self.name,
            prompt=prompt,
            n=1,
            response_format="b64_json" if self._takes_format else omit,
        ) as response:
            async for piece in response.iter_bytes():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise ImageUnavailable(f"the image endpoint answered more than {MAX_BYTES:,} bytes")
        return bytes(body)


def _complains_of_format(error: openai.APIStatusError) -> bool:
    return error.status_code in {400, 422} and "response_format" in str(error.param or error.message)


def _failure(error: openai.APIStatusError) -> Exception:
    kind = f"HTTP {error.status_code}"
    if re.fullmatch("[a-z_]{1,40}", error.code or ""):  # such as content_policy_violation, model_not_found
        kind += f", {error.code}"
    if error.status_code in REFUSING:
        return ImageRefused(f"the image endpoint does not take this request: {kind}")
    return ImageUnavailable(f"the image endpoint failed: {kind}")


def _picture(body: bytes) -> bytes:
    """The bytes of the first picture in an answer; addresses other than data URIs are never fetched."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ImageUnavailable("the image endpoint answered something else than pictures") from None
    if not answer.data:
        raise ImageUnavailable("the image endpoint answered no picture")
    picture = answer.data[0]
    encoded = picture.b64_json or picture.url or ""
    if encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    elif not picture.b64_json and picture.url:
        raise ImageRefused(ONLY_AN_ADDRESS)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ImageUnavailable(NOT_BASE64) from None


def _written_anew(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise ImageUnavailable(f"the image endpoint answered more than {MAX_BYTES:,} bytes")
    try:
        return data_uri(content)
    except PictureRefused as refused:
        raise ImageUnavailable(f"the image endpoint answered something that is {refused}") from None
