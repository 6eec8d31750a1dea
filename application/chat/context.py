"""What the model is told, within a budget: who it is, what was said, memories, files, the question."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from application.chat.question import Question
from domain.conversation import AttachedFile, Turn
from domain.memory import Memory

Json = dict[str, Any]

PROMPTS = Path(__file__).parent / "prompts"
ANSWER = (PROMPTS / "answer-1.md").read_text(encoding="utf-8")
RESEARCH = (PROMPTS / "research-1.md").read_text(encoding="utf-8")
BYTES_PER_TOKEN = 4
"""An estimate that holds for English; other scripts have more bytes a character, and as many tokens."""
IMAGE_TOKENS = 1_000
"""About what the endpoints count for one of at most 2,048 pixels."""
MAX_IMAGES = 10
FILES_SHARE = 0.5
"""Of the budget, for attached files; what is more is cut, and the model is told so."""
MEMORIES_SHARE = 0.15
COPIED_SHARE = 0.25
MEMORY_CHARACTERS = 2_000
"""Of one memory: a longer one is a document that somebody put there."""
QUESTION_SHARE = 0.5
"""Of the budget, before all else; more of a longer question is told where there is room."""
HISTORY_SHARE = 0.25
"""Of the budget, which earlier turns keep beside a longer question."""
SMALL = 200
"""Tokens: a shorter part of a turn would say nothing, and the turns before it are left out."""
CUT = "\n\n[{} characters are left out here]\n\n"
LEFT_OUT = '{"left out": "there was no room for this any more"}'


class Briefed(NamedTuple):
    messages: list[Json]
    memories: list[Memory]
    """Those for which there was room."""
    left_out: int
    """How many characters of the question there was no room for."""


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN + 1


def system(name: str, question: Question, research_rounds: int | None) -> Json:
    """The system message."""
    text = ANSWER.format(
        name=name,
        now=datetime.now(_zone(question.timezone)).strftime("%A, %d %B %Y, %H:%M %Z"),
        place=f" This person is in {fenced(question.place)}." if question.place else "",
    )
    if research_rounds:
        text += "\n" + RESEARCH.format(rounds=research_rounds)
    return {"role": "system", "content": text}


def brief(
    first: Json,
    copied: Sequence[Turn],
    earlier: Sequence[Turn],
    memories: Sequence[Memory],
    turn: Turn,
    budget: int,
) -> Briefed:
    """All that is told before any tool is called: the question, and of the rest what fits.

    `copied` are turns that came with a fork: somebody else's words, and so data like a page's.
    """
    words, pictures = _words(turn.question, turn), IMAGE_TOKENS * len(turn.images)
    whole = tokens(words)
    assured = min(whole, int(QUESTION_SHARE * budget))
    rest = max(0, budget - _size(first) - pictures - assured)
    shown, lines = _memories(memories, int(MEMORIES_SHARE * rest))
    files = [file for one in reversed([*earlier, turn]) for file in one.files]
    background = [
        message
        for message in (
            _copied(copied, int(COPIED_SHARE * rest)),
            lines,
            _files(files, int(FILES_SHARE * rest)),
        )
        if message
    ]
    rest = max(0, rest - sum(_size(message) for message in background))
    kept = min(int(HISTORY_SHARE * budget), rest, _wanted(earlier)) if whole > assured else 0
    question, left_out = _shortened(words, assured + rest - kept)
    left = rest + assured - tokens(question)
    history = _history(earlier, left, MAX_IMAGES - len(turn.images))
    asked = {"role": "user", "content": _with_images(question, turn.images)}
    return Briefed([first, *history, *background, asked], shown, left_out)


def shortened(text: str, budget: int) -> str:
    """A text with its middle left out where the budget has no room for it."""
    return _shortened(text, budget)[0]


def _shortened(text: str, budget: int) -> tuple[str, int]:
    """And how many characters of it are left out."""
    if tokens(text) <= budget:
        return text, 0
    encoded = text.encode("utf-8", "replace")
    half = max(0, (budget - tokens(CUT.format(len(text)))) * BYTES_PER_TOKEN // 2)
    start = encoded[:half].decode("utf-8", "ignore")
    end = encoded[len(encoded) - half :].decode("utf-8", "ignore")
    left_out = len(text) - len(start) - len(end)
    return start + CUT.format(left_out) + end, left_out


def fitting(messages: Sequence[Json], budget: int) -> list[Json]:
    """The same messages, with what tools found in earlier rounds left out where there is no room for it."""
    rounds = [n for n, message in enumerate(messages) if "tool_calls" in message]
    last = rounds[-1] if rounds else len(messages)
    excess = sum(_size(message) for message in messages) - budget
    fit = list(messages)
    for n, message in enumerate(messages[:last]):
        if excess > 0 and message["role"] == "tool":
            fit[n] = {**message, "content": LEFT_OUT}
            excess -= _size(message) - _size(fit[n])
    return fit


def without_images(messages: Sequence[Json]) -> list[Json]:
    """The same messages for a model that cannot see."""
    return [
        {**message, "content": message["content"][0]["text"]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def fenced(value: Any) -> str:
    """`value` as JSON in which no tag of ours can be opened or closed."""
    return msgspec.json.encode(value).decode().replace("<", "\\u003c")


def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (KeyError, ValueError, OSError):  # unknown, or no name of a zone at all
        return UTC


def _memories(memories: Sequence[Memory], budget: int) -> tuple[list[Memory], Json | None]:
    shown: list[Memory] = []
    lines: list[str] = []
    for memory in memories:
        line = fenced({"since": f"{memory.updated_at:%Y-%m-%d}", "memory": memory.text[:MEMORY_CHARACTERS]})
        if tokens(line) <= budget:
            budget -= tokens(line)
            shown.append(memory)
            lines.append(line)
    if not lines:
        return [], None
    return shown, {"role": "user", "content": "<memories>\n" + "\n".join(lines) + "\n</memories>"}


def _copied(turns: Sequence[Turn], budget: int) -> Json | None:
    lines: list[str] = []
    for turn in reversed(turns):
        said = {"asked": turn.said, "answered": turn.answer.text if turn.answer else ""}
        budget -= tokens(line := fenced(said))
        if budget < 0:
            break
        lines.append(line)
    if not lines:
        return None
    return {"role": "user", "content": "<copied>\n" + "\n".join(reversed(lines)) + "\n</copied>"}


def _files(files: Sequence[AttachedFile], budget: int) -> Json | None:
    """Each name once, as it was attached last; the small ones whole, the large ones share what is left."""
    named: dict[str, AttachedFile] = {}
    for file in files:
        named.setdefault(file.name, file)
    shown: dict[str, str] = {}
    for left, file in enumerate(sorted(named.values(), key=lambda file: len(file.content))):
        shown[file.name] = _file(file, budget // (len(named) - left))
        budget -= tokens(shown[file.name])
    if not shown:
        return None
    return {"role": "user", "content": "\n".join(shown[name] for name in named)}


def _file(file: AttachedFile, budget: int) -> str:
    """As much of a file as the budget holds: found by halving, as JSON makes some characters longer."""
    whole = f"<file>{fenced({'name': file.name, 'content': file.content})}</file>"
    if tokens(whole) <= budget:
        return whole
    fits, too_many = 0, len(file.content)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if tokens(_part(file, middle)) <= budget:
            fits = middle
        else:
            too_many = middle
    return _part(file, fits)


def _part(file: AttachedFile, characters: int) -> str:
    cut = f"only the first {characters} of {len(file.content)} characters are shown"
    shown = {"name": file.name, "content": file.content[:characters], "cut": cut}
    return f"<file>{fenced(shown)}</file>"


def _history(turns: Sequence[Turn], budget: int, images: int) -> list[Json]:
    """The last turns, oldest first; a long one gets half of the room that newer ones leave."""
    fit: list[list[Json]] = []
    for turn in reversed(turns):
        room = max(budget // 2, min(budget, SMALL))
        if _wanted([turn]) > room < SMALL:
            break
        said, images = _turn(turn, room, images)
        budget -= sum(_size(message) for message in said)
        if budget < 0:
            break
        fit.append(said)
    return [message for said in reversed(fit) for message in said]


def _turn(turn: Turn, room: int, images: int) -> tuple[list[Json], int]:
    """A turn, shortened to what there is room for; and how many images may still be shown."""
    shown = turn.images[: max(0, min(images, room // 2 // IMAGE_TOKENS))]
    room -= IMAGE_TOKENS * len(shown)
    asked, answered = _words(turn.said, turn), _answered(turn)
    if tokens(asked) <= tokens(answered):
        asked = shortened(asked, room // 2)
        answered = shortened(answered, room - tokens(asked))
    else:
        answered = shortened(answered, room // 2)
        asked = shortened(asked, room - tokens(answered))
    said: list[Json] = [{"role": "user", "content": _with_images(asked, shown)}]
    if answered:
        said.append({"role": "assistant", "content": answered})
    return said, images - len(shown)


def _answered(turn: Turn) -> str:
    answer = turn.answer
    return answer.text if answer and answer.text.strip() and not answer.failure else ""


def _wanted(turns: Sequence[Turn]) -> int:
    """The tokens of whole turns."""
    return sum(tokens(_words(turn.said, turn)) + tokens(_answered(turn)) for turn in turns)


def _words(said: str, turn: Turn) -> str:
    """What the user said. Never empty, which endpoints do not take: a command or a picture may be all."""
    return said if said.strip() else f"/{turn.command or 'general'}"


def _with_images(text: str, images: Sequence[str]) -> str | list[Json]:
    if not images:
        return text
    shown = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return [{"type": "text", "text": text}, *shown]


def _size(message: Json) -> int:
    content = message["content"] or ""
    calls = tokens(fenced(message["tool_calls"])) if "tool_calls" in message else 0
    if isinstance(content, str):
        return calls + tokens(content)
    return sum(IMAGE_TOKENS if "image_url" in part else tokens(part["text"]) for part in content)
