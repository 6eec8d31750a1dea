"""What Khoj's clients ask for at the start: who is logged in, their settings, the model, health."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, patch, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.auth import authenticate
from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import User
from api.errors import Refusal
from application import documents
from application.asked import Asked
from application.chat.chat import Chat
from application.chat.remembered import remembers, switch_memory
from application.engine import Engine
from domain.errors import NotFound

KHOJ_VERSION = "2.0.0"
"""Of Khoj's API; its clients show this."""
MODEL = 1
"""The number of the one chat model that is configured."""
NO_EARS = "this server does not turn speech into text: type the question"

Mode = Literal["disabled", "enabled_default_off", "enabled_default_on"]


class MemorySwitch(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"
    enable_memory: bool


class KhojUser(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    username: str
    photo: str | None = None
    is_active: bool = True
    """Has what subscribers of Khoj's cloud have, as everybody has on a server of their own."""
    has_documents: bool
    khoj_version: str = KHOJ_VERSION


class KhojHealth(msgspec.Struct, frozen=True, kw_only=True):
    email: str | None
    """None: nobody is logged in."""


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    computer: bool
    github: bool = False
    notion: bool = False


class ModelOption(msgspec.Struct, frozen=True, kw_only=True):
    """A chat model that can be chosen."""

    id: int
    name: str
    strengths: str | None = None
    description: str | None = None


class ChosenModel(msgspec.Struct, frozen=True, kw_only=True):
    """Null is both where no model is configured."""

    id: int | None
    chat_model: str | None


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What any page of the web client asks for."""

    username: str
    user_photo: str | None = None
    is_active: bool = True
    has_documents: bool
    khoj_version: str = KHOJ_VERSION


class DetailedSettings(Settings, frozen=True, kw_only=True):
    """What its settings page asks for: there are no bills, and but one model to choose from."""

    enable_memory: bool
    """Whether chats use and make memories, all in all."""
    server_memory_mode: Mode
    given_name: str
    phone_number: str = ""
    is_phone_number_verified: bool = False
    enabled_content_source: Synced
    notion_token: str | None = None
    search_model_options: list[dict[str, Any]] = []
    selected_search_model_config: int | None = None
    chat_model_options: list[ModelOption]
    selected_chat_model_config: int | None
    paint_model_options: list[dict[str, Any]] = []
    selected_paint_model_config: int | None = None
    voice_model_options: list[dict[str, Any]] = []
    selected_voice_model_config: int | None = None
    subscription_state: str = "subscribed"
    subscription_renewal_date: str | None = None
    subscription_enabled_trial_at: str | None = None
    khoj_cloud_subscription_url: str | None = None
    billing_enabled: bool = False
    is_eleven_labs_enabled: bool
    """Whether answers can be read aloud, by whatever voice."""
    is_twilio_enabled: bool = False
    anonymous_mode: bool = False
    notion_oauth_url: str = ""
    length_of_free_trial: int = 0
    """Days."""


# --- the user ---------------------------------------------------------------------------------------


@patch(
    "/api/user/memory",
    operation_id="khojSwitchMemory",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(409),
    tags=["Khoj"],
    summary="Switch remembering on or off; what is remembered stays",
)
async def switch(
    enable_memory: Annotated[bool, QueryParameter()],
    asked: NamedDependency[Asked],
    chats: NamedDependency[Chat],
) -> MemorySwitch:
    """Answers how it is from now on: where the server has switched it off, a user's wish is only kept."""
    return MemorySwitch(enable_memory=await switch_memory(chats, asked, enable_memory))


@get(
    "/api/settings",
    operation_id="khojGetSettings",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj"],
    summary="What the web client shows of a user's settings",
)
async def settings(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    chats: NamedDependency[Chat],
    detailed: Annotated[bool, QueryParameter()] = False,
    user_id: User = None,
) -> DetailedSettings | Settings:
    name, synced = asked.caller.owner, await documents.count(engine, asked, user_id) > 0
    if not detailed:
        return Settings(username=name, has_documents=synced)
    return DetailedSettings(
        username=name,
        given_name=name,
        has_documents=synced,
        enabled_content_source=Synced(computer=synced),
        enable_memory=await remembers(chats, name),
        server_memory_mode=chats.options.memory,
        chat_model_options=_models(chats),
        selected_chat_model_config=MODEL if chats.means.model else None,
        is_eleven_labs_enabled=chats.means.voice is not None,
    )


@get(
    "/api/v1/user",
    operation_id="khojGetUser",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj"],
    summary="Who is logged in: the owner of the key",
)
async def user(
    asked: NamedDependency[Asked], engine: NamedDependency[Engine], user_id: User = None
) -> KhojUser:
    name, synced = asked.caller.owner, await documents.count(engine, asked, user_id) > 0
    return KhojUser(email=name, username=name, has_documents=synced)


@get(
    "/api/health",
    operation_id="khojHealth",
    tags=["Khoj Chat"],
    summary="The server answers, and who is logged in; without a good key nobody is",
)
async def health(request: Request[Any, Any, Any]) -> KhojHealth:
    try:
        caller = await authenticate(request.scope, request.headers)
    except Refusal:
        return KhojHealth(email=None)
    return KhojHealth(email=caller.owner)


# --- the model --------------------------------------------------------------------------------------


@get(
    "/api/model/chat/options",
    operation_id="khojListChatModels",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="The chat models to choose from: the one that is configured, if one is",
)
async def models(asked: NamedDependency[Asked], chats: NamedDependency[Chat]) -> list[ModelOption]:
    return _models(chats)


@get(
    "/api/model/chat",
    operation_id="khojGetChatModel",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="The chat model that answers",
)
async def model(asked: NamedDependency[Asked], chats: NamedDependency[Chat]) -> ChosenModel:
    options = _models(chats)
    return ChosenModel(id=options[0].id, chat_model=options[0].name) if options else NO_MODEL


@post(
    "/api/model/chat",
    operation_id="khojChooseChatModel",
    opt={"scope": "memories:write", "bodiless": True},
    responses=refusals(404),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Choose a chat model; there is one, which is chosen already",
)
async def choose(
    id: Annotated[str, QueryParameter()], asked: NamedDependency[Asked], chats: NamedDependency[Chat]
) -> Chosen:
    if id not in [str(option.id) for option in _models(chats)]:
        raise NotFound("Model not found")
    return Chosen()


@post(
    "/api/transcribe",
    operation_id="khojTranscribe",
    opt={"scope": "memories:read", "bodiless": True},
    responses=refusals(501),
    status_code=200,
    tags=["Khoj Chat"],
    summary="Speech as text: not offered, which clients are told by 501",
)
async def transcribe(asked: NamedDependency[Asked]) -> None:
    raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "not-offered", NO_EARS)


ROUTES = [switch, settings, user, health, models, model, choose, transcribe]
NO_MODEL = ChosenModel(id=None, chat_model=None)


def _models(chats: Chat) -> list[ModelOption]:
    return [ModelOption(id=MODEL, name=chats.means.model.name)] if chats.means.model else []
