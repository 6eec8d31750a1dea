"""`/image`: a picture."""

from typing import Annotated

import msgspec

from application.chat.chat import Chat
from application.chat.tools.telling import listed, plain
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from providers.models.image_model import ImageModel, ImageRefused, ImageUnavailable

MISSING = (
    "No image model is configured: set EVERLOG_IMAGE_MODEL to a model of the OpenAI-compatible endpoint, "
    "and OPENAI_API_KEY or OPENAI_BASE_URL."
)
USED_UP = "Today's images are used up: painting goes on tomorrow."
MAX_PROMPT = 4_000
"""Characters, as the image models of OpenAI have it."""


class Painting(msgspec.Struct, frozen=True):
    prompt: Annotated[
        str,
        msgspec.Meta(
            description="What is to be seen, in detail: subject, setting, style, light, composition. "
            "Better than the user's words, and true to them."
        ),
    ]


class Image(Tool):
    command = "image"
    order = 50
    help = "Paint a picture."
    option = "Paint an image."
    makes = True
    description = (
        "Paints a picture and shows it to the user. Use it only when the user wants a picture, a photo, "
        "a drawing or a logo; diagrams and charts have other ways."
    )
    arguments: type[msgspec.Struct] = Painting

    def available(self, chat: Chat) -> bool:
        return chat.means.painter is not None

    def missing(self) -> str:
        return MISSING

    def guess(self, question: str) -> Painting:
        return Painting(question)

    async def run(self, desk: Desk, arguments: Painting) -> Outcome:
        if desk.chat.means.painter is None:
            raise ToolFailed(MISSING)
        plans, caller = desk.chat.plans, desk.asked.caller
        if not await plans.take_image(caller):
            raise ToolFailed(USED_UP)
        try:
            return await _painted(desk, desk.chat.means.painter, plain(arguments.prompt).strip()[:MAX_PROMPT])
        except Exception:
            await plans.give_back_image(caller)
            raise


async def _painted(desk: Desk, painter: ImageModel, prompt: str) -> Outcome:
    if not prompt:
        raise ToolFailed("Failed to generate image: it needs a prompt.")
    desk.say(f"**Painting to Imagine**: {listed([prompt])}")
    try:
        picture = await painter.paint(prompt)
    except (ImageRefused, ImageUnavailable) as error:
        raise ToolFailed(f"Failed to generate image: {error}") from None
    return Outcome(told=_for_model(prompt), images=(picture,))


def _for_model(prompt: str) -> str:
    return msgspec.json.encode(
        {"painted": prompt, "the user": "sees the picture beside your answer"}
    ).decode()


IMAGE = Image()
