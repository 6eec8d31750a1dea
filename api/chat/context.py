"""What the model is told, within a budget: who it is, what was said, memories, files, the question."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from api.chat.question import Question
from domain.conversation import AttachedFile, Turn
from domain.memory import Memory

Json = dict[str, Any]

PROMPTS = Path(__file__).parent / "prompts"
ANSWER = (PROMPTS / "answer-1.md").read_text()
RESEARCH = (PROMPTS / "research-1.md").read_text()
BYTES_PER_TOKEN = 4
"""An estimate that holds for English; other scripts have more bytes a character, and as many tokens."""
IMAGE_TOKENS = 1_000
"""About what the endpoints count for one of at most 2,048 pixels."""
MAX_IMAGES = 10
FILES_SHARE = 0.5
"""Of the budget, for attached files; what is more is cut, and the model is told so."""
MEMORIES_SHARE = 0.15


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN + 1


def system(name: str, question: Question, research_rounds: int | None) -> Json:
    """The system message."""
    place = question.place()
    text = ANSWER.format(
        name=name,
        now=datetime.now(_zone(question.timezone)).strftime("%A, %d %B %Y, %H:%M %Z"),
        place=f" This person is in {fenced(place)}." if place else "",
    )
    if research_rounds:
        text += "\n" + RESEARCH.format(rounds=research_rounds)
    return {"role": "system", "content": text}


def messages(
    first: Json, earlier: Sequence[Turn], memories: Sequence[Memory], turn: Turn, budget: int
) -> list[Json]:
    """All that is told before any tool is called. The question goes whole; of the rest what fits."""
    asked = {"role": "user", "content": _with_images(turn.question, turn.images)}
    told = [_memories(memories, int(MEMORIES_SHARE * budget)), _files(turn.files, int(FILES_SHARE * budget))]
    background = [message for message in told if message]
    left = budget - sum(_size(message) for message in (first, asked, *background))
    return [first, *_history(earlier, left, MAX_IMAGES - len(turn.images)), *background, asked]


def fenced(value: Any) -> str:
    """`value` as JSON in which no tag of ours can be opened or closed."""
    return msgspec.json.encode(value).decode().replace("<", "\\u003c")


def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):  # unknown, or no name of a zone at all
        return UTC


def _memories(memories: Sequence[Memory], budget: int) -> Json | None:
    lines: list[str] = []
    for memory in memories:
        line = fenced({"since": f"{memory.updated_at:%Y-%m-%d}", "memory": memory.text})
        budget -= tokens(line)
        if budget < 0:
            break
        lines.append(line)
    if not lines:
        return None
    return {"role": "user", "content": "<memories>\n" + "\n".join(lines) + "\n</memories>"}


def _files(files: Sequence[AttachedFile], budget: int) -> Json | None:
    if not files:
        return None
    characters = BYTES_PER_TOKEN * budget // len(files)
    return {"role": "user", "content": "\n".join(_file(file, characters) for file in files)}


def _file(file: AttachedFile, characters: int) -> str:
    shown = {"name": file.name, "content": file.content[:characters]}
    if len(file.content) > characters:
        shown["cut"] = f"only the first {characters} of {len(file.content)} characters are shown"
    return f"<file>{fenced(shown)}</file>"


def _history(turns: Sequence[Turn], budget: int, images: int) -> list[Json]:
    """The last turns that fit, oldest first; a turn is told whole or not at all."""
    told: list[list[Json]] = []
    for turn in reversed(turns):
        shown = turn.images[: max(0, images)]
        images -= len(shown)
        said = [{"role": "user", "content": _with_images(turn.question, shown)}]
        if turn.answer and turn.answer.text and not turn.answer.failure:
            said.append({"role": "assistant", "content": turn.answer.text})
        budget -= sum(_size(message) for message in said)
        if budget < 0:
            break
        told.append(said)
    return [message for said in reversed(told) for message in said]


def _with_images(text: str, images: Sequence[str]) -> str | list[Json]:
    if not images:
        return text
    shown = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return [{"type": "text", "text": text}, *shown]


def _size(message: Json) -> int:
    content = message["content"]
    if isinstance(content, str):
        return tokens(content)
    return sum(IMAGE_TOKENS if "image_url" in part else tokens(part["text"]) for part in content)


def without_images(told: Sequence[Json]) -> list[Json]:
    """The same messages for a model that cannot see."""
    return [
        {**message, "content": message["content"][0]["text"]}
        if isinstance(message.get("content"), list)
        else message
        for message in told
    ]
