"""Answers read aloud: POST /api/chat/speech (seed 004; khoj.md, 1.3)."""

import asyncio
from http import HTTPStatus

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import Parameters, Value, combined, required
from api.errors import Refusal
from application.asked import Asked
from application.chat.chat import Chat
from providers.speech.speech import MAX_TEXT, SpeechUnavailable, plain

MP3 = "audio/mpeg"
VOICELESS = (
    "this server has no voice: set EVERLOG_SPEECH_MODEL to a speech model of the OpenAI-compatible endpoint,"
    " or run `./everlog install speech` for a local voice, and start Everlog again"
)
SILENT = "there is nothing to speak: the text is empty, or holds nothing but code and images"
TOO_LONG = f"the text is longer than {MAX_TEXT:,} characters: send it in parts"


class OfText(Parameters, frozen=True, kw_only=True):
    text: str | None = None


@post(
    "/api/chat/speech",
    operation_id="khojSpeak",
    opt={"scope": "write", "bodiless": True},
    responses=refusals(413),
    status_code=200,
    media_type=MP3,
    tags=["Khoj Chat"],
    summary="A text as speech, in MP3; its Markdown is not spoken",
)
async def speak(
    chats: NamedDependency[Chat],
    asked: NamedDependency[Asked],
    text: Value = None,
    data: JSONBody[OfText | None] = None,
) -> Response[bytes]:
    said = required("text", combined(OfText(text=text), data).text)
    words = await asyncio.to_thread(plain, said)
    if not any(character.isprintable() and not character.isspace() for character in words):
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", SILENT)
    if len(words) > MAX_TEXT:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", TOO_LONG)
    if chats.voice is None:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no-voice", VOICELESS)
    try:
        return Response(await chats.voice.speak(words), media_type=MP3)
    except SpeechUnavailable as unavailable:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no-speech", str(unavailable)) from None


ROUTES = [speak]
