"""`/diagram`: a diagram in Mermaid."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import msgspec

from application.chat.tools.telling import fenced
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from providers.diagrams import DiagramInvalid, check

TOLD = '{"diagram":"is valid, and the user sees it beside your answer: do not repeat it"}'

JUDGE = ThreadPoolExecutor(1, "diagrams")
"""One at a time: the last of a turn's diagrams is judged last, and hostile ones have no more than a core."""


class Drawing(msgspec.Struct, frozen=True):
    mermaid: Annotated[
        str,
        msgspec.Meta(
            description="A whole diagram in Mermaid, without a code fence, such as: "
            'flowchart TD\\n  a["Start"] --> b["End"]'
        ),
    ]


class Diagram(Tool):
    command = "diagram"
    order = 60
    help = "Draw a diagram."
    option = "Draw a diagram."
    makes = True
    description = (
        "Draws a diagram and shows it to the user: a flow chart, a sequence, a mind map, a timeline, a pie. "
        "Use it when the user wants something drawn as a diagram or chart."
    )
    arguments: type[msgspec.Struct] = Drawing

    async def run(self, desk: Desk, arguments: Drawing) -> Outcome:
        try:
            mermaid = await asyncio.get_running_loop().run_in_executor(JUDGE, check, arguments.mermaid)
        except DiagramInvalid as error:
            raise ToolFailed(
                f"The diagram cannot be drawn: line {error.line}: {error.reason}. "
                "Write the whole diagram again, corrected."
            ) from None
        desk.say(f"**Diagram to Create:**:\n{fenced(mermaid, 'mermaid')}")
        return Outcome(told=TOLD, diagram=mermaid)


DIAGRAM = Diagram()
