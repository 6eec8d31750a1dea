"""The commands that a client can offer."""

from typing import Any

from litestar import get

from application.chat.commands import COMMANDS


@get(
    "/api/chat/options",
    operation_id="khojChatOptions",
    tags=["Khoj"],
    summary="The commands of chats, with what each does; needs no key",
    sync_to_thread=False,
)
def options() -> dict[str, str]:
    return COMMANDS


ROUTES: list[Any] = [options]
