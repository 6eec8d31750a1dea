"""What a turn tells its client while it goes on (khoj.md, 2.2 and 2.3)."""

from typing import Any, Literal

import msgspec

Type = Literal[
    "metadata",
    "status",
    "thought",
    "references",
    "generated_assets",
    "start_llm_response",
    "message",
    "end_llm_response",
    "usage",
    "error",
    "end_response",
]


class Emission(msgspec.Struct, frozen=True):
    """One event of a stream. Each framing has its own way to write it."""

    type: Type
    data: Any = ""
