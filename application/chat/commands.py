"""The commands at the beginning of a question."""

import re

from application.chat.tools import ALL

GENERAL = "general"
RESEARCH = "research"
COMMANDS = {
    GENERAL: "Only talk, without searching anything.",
    **{tool.command: tool.help for tool in ALL.values() if tool.help},
    RESEARCH: "Research in several rounds with all tools.",
}
"""Command → what it does, for users."""

COMMAND = re.compile(rf"\s*/(?P<command>{'|'.join(COMMANDS)})(?!\S)\s*", re.IGNORECASE)


def parse(text: str) -> tuple[str | None, str]:
    """The command that `text` begins with, and what is asked; without a command, `text` as it is."""
    found = COMMAND.match(text)
    return (found["command"].lower(), text[found.end() :]) if found else (None, text)
