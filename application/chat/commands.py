"""The commands at the beginning of a question."""

import re

COMMANDS = {
    "general": "Only talk, without searching anything.",
    "notes": "Search only in your notes and documents.",
    "online": "Search the web.",
    "webpage": "Read the web pages whose addresses you give.",
    "code": "Run Python code to find the answer.",
    "image": "Paint a picture.",
    "diagram": "Draw a diagram.",
    "research": "Research in several rounds with all tools.",
}

COMMAND = re.compile(rf"\s*/(?P<command>{'|'.join(COMMANDS)})(?!\S)\s*", re.IGNORECASE)


def parse(text: str) -> tuple[str | None, str]:
    """The command that `text` begins with, and what is asked; without a command, `text` as it is."""
    found = COMMAND.match(text)
    return (found["command"].lower(), text[found.end() :]) if found else (None, text)
