"""What a model can do beside talking; a file each, named as the command that asks for it."""

from application.chat.tools.tool import Tool
from domain.discovery import declared

_DECLARED = [one for one in declared(__name__) if isinstance(one, Tool)]
ALL = {one.command: one for one in sorted(_DECLARED, key=lambda one: (one.order, one.command))}
"""By command, in the order in which they are offered."""
RESEARCH_ONLY = {tool.command for tool in ALL.values() if not tool.help}
"""No commands of the user's: other turns look for such things by themselves."""
