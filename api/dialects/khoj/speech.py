"""Answers read aloud: POST /api/chat/speech (seed 004; khoj.md, 1.3)."""

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import Parameters, Value, combined, required
from application.asked import Asked
from application.chat import speech
from application.chat.chat import Chat

MP3 = "audio/mpeg"


class OfText(Parameters, frozen=True, kw_only=True):
    text: str | None = None


@post(
    "/api/chat/speech",
    operation_id="khojSpeak",
    opt={"scope": "memories:write", "bodiless": True},
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
    return Response(await speech.speak(chats, asked.caller.owner, said), media_type=MP3)


ROUTES = [speak]
