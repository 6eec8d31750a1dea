"""The prompts, each in a file of its own, `prompts/STEP-VERSION.md`.

A prompt that has been used is never edited: events name its version. A change of it is a new file.
"""

from pathlib import Path

import msgspec

FOLDER = Path(__file__).with_name("prompts")


class Prompt(msgspec.Struct, frozen=True):
    """What a chat model is told to do with the data of one step."""

    step: str
    version: str
    text: str


def prompt(name: str) -> Prompt:
    """The prompt in `prompts/NAME.md`. Raises OSError."""
    step, _, version = name.rpartition("-")
    return Prompt(step, version, (FOLDER / f"{name}.md").read_text(encoding="utf-8"))
