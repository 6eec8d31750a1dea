"""What a model can do beside talking; a file each, named as the command that asks for it."""

from application.chat.tools.code import CODE
from application.chat.tools.diagram import DIAGRAM
from application.chat.tools.image import IMAGE
from application.chat.tools.memories import MEMORIES
from application.chat.tools.notes import NOTES
from application.chat.tools.online import ONLINE
from application.chat.tools.tool import Tool
from application.chat.tools.webpage import WEBPAGE

ALL: dict[str, Tool] = {
    tool.command: tool for tool in (NOTES, ONLINE, WEBPAGE, CODE, IMAGE, DIAGRAM, MEMORIES)
}
"""By command, in the order in which they are offered."""
RESEARCH_ONLY = {MEMORIES.command}
"""No commands of the user's: other turns look for such things by themselves."""
