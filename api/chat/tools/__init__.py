"""What a model can do beside talking; a file each, named as the command that asks for it."""

from api.chat.tools.code import CODE
from api.chat.tools.diagram import DIAGRAM
from api.chat.tools.image import IMAGE
from api.chat.tools.memories import MEMORIES
from api.chat.tools.notes import NOTES
from api.chat.tools.online import ONLINE
from api.chat.tools.tool import Tool
from api.chat.tools.webpage import WEBPAGE

ALL: dict[str, Tool] = {
    tool.command: tool for tool in (NOTES, ONLINE, WEBPAGE, CODE, IMAGE, DIAGRAM, MEMORIES)
}
"""By command, in the order in which they are offered."""
RESEARCH_ONLY = {MEMORIES.command}
"""No commands of the user's: other turns look for such things by themselves."""
