"""Whom one can talk to: there is the default one."""

import msgspec


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    slug: str
    """Its name within conversations, in lower case."""
    name: str
    icon: str
    """An emoji."""
    color: str
    """As CSS has it."""


DEFAULT = Agent(slug="khoj", name="Khoj", icon="🦾", color="#7C3AED")
AGENTS = [DEFAULT]


def agent_of(slug: str | None) -> Agent | None:
    """The agent of this name, in whatever case; the default one where none is named."""
    wanted = slug.casefold() if slug else DEFAULT.slug
    return next((agent for agent in AGENTS if agent.slug == wanted), None)
