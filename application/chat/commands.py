"""The commands at the beginning of a question (khoj.md, 3.1)."""

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

COMMAND = re.compile(
    rf"\s*(?:/automated_task(?!\S)\s*)?(?:/(?P<command>{'|'.join(COMMANDS)})(?!\S)\s*)?", re.IGNORECASE
)


def parse(q: str) -> tuple[str | None, str]:
    """The command that `q` begins with, and what is asked; without a command, `q` as it is.

    `/automated_task` is Khoj's mark on what its scheduler asks, and says nothing.
    """
    found = COMMAND.match(q)
    if not found or not found.group().strip():
        return None, q
    command = found["command"]
    return command and command.lower(), q[found.end() :]
