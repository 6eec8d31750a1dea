"""Agents, as Khoj's clients ask for them: there is the default one."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.dialects.khoj.errors import refusals
from api.dialects.khoj.parameters import User, conversation_of
from application.asked import Asked
from application.chat import agents
from application.chat.commands import GENERAL
from application.chat.tools import ALL
from application.engine import Engine
from domain.errors import NotFound


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody to talk to."""

    slug: str
    name: str
    persona: str = ""
    """What the user tells the model that it is."""
    creator: str | None = None
    """None: it comes with the server."""
    is_creator: bool = False
    """Whether the caller made it."""
    managed_by_admin: bool = True
    color: str
    icon: str
    privacy_level: str = "public"
    is_hidden: bool = False
    chat_model: str | None = None
    """None: the one that the server is configured with."""
    files: list[str] = []
    has_files: bool = False
    input_tools: list[str] = []
    """The tools it is limited to; none: it has them all."""
    output_modes: list[str] = []


class AgentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What agents can be limited to, with descriptions."""

    input_tools: dict[str, str]
    output_modes: dict[str, str]


OPTIONS = AgentOptions(
    input_tools={
        GENERAL: "Answer from general knowledge alone.",
        **{tool.command: tool.option for tool in ALL.values() if tool.option and not tool.makes},
    },
    output_modes={tool.command: tool.option for tool in ALL.values() if tool.option and tool.makes},
)


def shown(agent: agents.Agent) -> Agent:
    return Agent(slug=agent.slug, name=agent.name, color=agent.color, icon=agent.icon)


@get(
    "/api/agents",
    operation_id="khojListAgents",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="The agents one can talk to",
)
async def listing(asked: NamedDependency[Asked]) -> list[Agent]:
    return [shown(agent) for agent in agents.AGENTS]


@get(
    "/api/agents/options",
    operation_id="khojGetAgentOptions",
    opt={"scope": "memories:read"},
    responses=refusals(),
    tags=["Khoj Chat"],
    summary="What an agent can be limited to",
)
async def options(asked: NamedDependency[Asked]) -> AgentOptions:
    return OPTIONS


@get(
    "/api/agents/conversation",
    operation_id="khojGetAgentOfConversation",
    opt={"scope": "memories:read"},
    responses=refusals(404),
    tags=["Khoj Chat"],
    summary="The agent of a conversation",
)
async def of_conversation(
    conversation_id: Annotated[str, QueryParameter()],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: User = None,
) -> Agent:
    conversation = await conversation_of(asked, engine, conversation_id, user_id)
    return _there(conversation.agent)


@get(
    "/api/agents/{agent_slug:str}",
    operation_id="khojGetAgent",
    opt={"scope": "memories:read"},
    responses=refusals(404),
    tags=["Khoj Chat"],
    summary="Get an agent",
)
async def one(agent_slug: FromPath[str], asked: NamedDependency[Asked]) -> Agent:
    return _there(agent_slug)


ROUTES = [listing, options, of_conversation, one]


def _there(slug: str) -> Agent:
    agent = agents.agent_of(slug)
    if agent is None:
        raise NotFound("Agent not found")
    return shown(agent)
