"""GET /api/chat/starters: questions to begin with (seed 004)."""

from litestar import get
from litestar.di import NamedDependency

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import User
from application.asked import Asked
from application.chat import starters
from application.chat.chat import Chat


@get(
    "/api/chat/starters",
    operation_id="khojListStarters",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="Up to three questions to begin with, made of recent memories; others each day",
)
async def listing(
    asked: NamedDependency[Asked], chats: NamedDependency[Chat], user_id: User = None
) -> list[str]:
    return await starters.starters(chats, asked, user_id)


ROUTES = [listing]
