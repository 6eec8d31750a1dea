"""What a model can do beside talking; a file each, named as the command that asks for it."""

from application.chat.tools import code, diagram, image, memories, notes, online, webpage
from application.chat.tools.tool import Tool

TOOLS: tuple[Tool, ...] = (
    notes.NOTES, online.ONLINE, webpage.WEBPAGE, code.CODE, image.IMAGE, diagram.DIAGRAM, memories.MEMORIES,
)  # fmt: skip
"""In the order in which they are offered."""
ALL = {tool.command: tool for tool in TOOLS}
"""By command."""
RESEARCH_ONLY = {tool.command for tool in ALL.values() if not tool.help}
"""No commands of the user's: other turns look for such things by themselves."""
