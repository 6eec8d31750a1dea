"""Speech of a real HTTP server, and of the real local voices where their wheels are installed."""

import asyncio
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from providers.models import endpoint as models
from providers.speech import speech
from providers.speech.markdown import plain
from providers.speech.speech import (
    MAX_PIECE,
    MAX_TEXT,
    NEEDS,
    LocalVoice,
    RemoteVoice,
    SpeechUnavailable,
    is_mp3,
    pieces,
)
from runtime.composition import voice_of
from runtime.settings import Settings
from tests.support.endpoint import Answer, Endpoint
from tests.support.service import eventually

KEY = "sk-secret-of-speech"
TEXT = "You prefer oat milk."
FRAME = b"\xff\xf3\x84\xc4" + bytes(413)
INSTALLED = [engine for engine, modules in NEEDS.items() if all(map(find_spec, modules))]


def mp3(_: dict[str, Any]) -> Answer:
    return 200, FRAME, {"Content-Type": "audio/mpeg"}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(mp3)
    yield endpoint
    endpoint.close()


def settings_of(endpoint: Endpoint) -> Settings:
    return Settings(
        openai_base_url=endpoint.url, openai_api_key=KEY, speech_model="tts-1", speech_voice="nova"
    )


def spoken(endpoint: Endpoint, text: str = TEXT) -> bytes:
    async def speak() -> bytes:
        voice = RemoteVoice(models.Endpoint(endpoint.url, KEY), "tts-1", "nova")
        try:
            return await voice.speak(text, "ann")
        finally:
            await voice.close()

    return asyncio.run(speak())


# The endpoint


def test_a_text_comes_back_as_the_mp3_of_the_endpoint(endpoint: Endpoint) -> None:
    assert spoken(endpoint) == FRAME
    assert endpoint.asked == [{"model": "tts-1", "voice": "nova", "input": TEXT, "response_format": "mp3"}]


def test_a_long_text_goes_in_pieces_that_end_with_sentences(endpoint: Endpoint) -> None:
    sentence = "The kettle is on the stove. "
    text = sentence * (MAX_TEXT // len(sentence))
    assert spoken(endpoint, text) == FRAME * len(endpoint.asked)
    asked = [asked["input"] for asked in endpoint.asked]
    assert "".join(asked) == text
    assert all(len(piece) <= MAX_PIECE and piece.endswith("stove. ") for piece in asked)


@pytest.mark.parametrize("text", ["x" * MAX_TEXT, "word " * (MAX_TEXT // 5), "。" * MAX_TEXT, "a\n" * 4_000])
def test_pieces_lose_nothing_whatever_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert max(map(len, pieces(text))) <= MAX_PIECE


@pytest.mark.parametrize("text", ["", " \n", "x" * (MAX_TEXT + 1)])
def test_no_text_and_too_much_of_it_are_the_callers_mistake(endpoint: Endpoint, text: str) -> None:
    with pytest.raises(ValueError, match="text"):
        spoken(endpoint, text)
    assert not endpoint.asked


def test_a_passing_failure_is_tried_again(endpoint: Endpoint) -> None:
    endpoint.answers = [(503, {"error": {"message": "later"}})]
    assert spoken(endpoint) == FRAME


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_lasting_failure_says_what_to_look_at_and_holds_neither_key_nor_text(
    endpoint: Endpoint, status: int
) -> None:
    endpoint.usual = lambda _: (status, {"error": {"message": f"{KEY} {TEXT}", "code": "some_reason"}})
    with pytest.raises(
        SpeechUnavailable, match=f"HTTP {status}, some_reason.*EVERLOG_SPEECH_MODEL"
    ) as raised:
        spoken(endpoint)
    printed = "".join(traceback.format_exception(raised.value))
    assert KEY not in printed
    assert TEXT not in printed


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"audio": null}', b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_no_mp3_is_not_passed_on(endpoint: Endpoint, body: bytes) -> None:
    endpoint.usual = lambda _: (200, body)
    with pytest.raises(SpeechUnavailable, match="something else than MP3"):
        spoken(endpoint)


def test_too_much_sound_is_not_read(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "MAX_MP3_BYTES", 100)
    with pytest.raises(SpeechUnavailable, match="more than"):
        spoken(endpoint)


def test_a_silent_endpoint_is_given_up(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "DEADLINE_SECONDS", 0.2)
    endpoint.delay = 30.0
    with pytest.raises(SpeechUnavailable, match="too long"):
        spoken(endpoint)


def test_nobody_there_is_unavailable(endpoint: Endpoint) -> None:
    endpoint.close()
    with pytest.raises(SpeechUnavailable, match="APIConnectionError"):
        spoken(endpoint)


# Which voice


def test_a_configured_model_speaks_and_else_the_best_voice_that_is_installed(endpoint: Endpoint) -> None:
    assert isinstance(voice_of(settings_of(endpoint)), RemoteVoice)
    for settings in (Settings(), Settings(speech_model="tts-1"), Settings(openai_api_key=KEY)):
        voice = voice_of(settings)
        assert [voice.engine] == INSTALLED[:1] if isinstance(voice, LocalVoice) else not INSTALLED


def test_without_model_and_wheels_nobody_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "NEEDS", {"piper": ("no_such_module_of_a_voice", "json")})
    assert voice_of(Settings()) is None


# The local voices


@pytest.fixture(params=list(NEEDS))
def voice(request: pytest.FixtureRequest) -> LocalVoice:
    if request.param not in INSTALLED:
        pytest.skip(f"the wheels of {request.param} are not installed")
    return LocalVoice(request.param)


def seconds_of(content: bytes) -> float:
    """How long MP3 of 64 kilobits a second lasts."""
    return len(content) * 8 / 64_000


def test_a_local_voice_speaks_mp3_that_lasts_as_long_as_the_words(voice: LocalVoice) -> None:
    short = asyncio.run(voice.speak("Hello.", "ann"))
    long = asyncio.run(
        voice.speak("Every morning, Maria walks her dog along the river and thinks of Lisbon.", "ann")
    )
    assert is_mp3(short)
    assert 0.2 < seconds_of(short) < 3 < seconds_of(long) < 10


def test_the_text_is_no_command_to_the_voice(voice: LocalVoice) -> None:
    quick = asyncio.run(voice.speak("one two three", "ann"))
    for text in (
        "<speak>one <break time='60s'/> three</speak>",
        "one [[h@l'oU]] three",
        "--help -f /etc/passwd",
    ):
        assert seconds_of(asyncio.run(voice.speak(text, "ann"))) < seconds_of(quick) + 6


def test_any_characters_can_be_spoken(voice: LocalVoice) -> None:
    assert is_mp3(asyncio.run(voice.speak("naïve 你好 🎉 \x00 \ud800 done", "ann")))


def test_the_voice_is_not_loaded_into_this_process(voice: LocalVoice) -> None:
    asyncio.run(voice.speak("Hello.", "ann"))
    assert not {"lameenc", "piper", "espeakng_loader"} & sys.modules.keys()


def test_speeches_beyond_the_limit_of_children_wait_for_their_turn(voice: LocalVoice) -> None:
    async def many() -> list[bytes]:
        return await asyncio.gather(*(voice.speak("Hello.", "ann") for _ in range(speech.CHILDREN + 1)))

    assert all(is_mp3(content) for content in asyncio.run(many()))


def children() -> list[str]:
    """Command lines of our voices that run now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:
            continue
    return [line for line in found if "providers.speech.child" in line and str(os.getpid()) in line]


proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks into /proc")


@proc
def test_a_voice_that_takes_too_long_is_ended(voice: LocalVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "TIMEOUT_SECONDS", 0.02)
    with pytest.raises(SpeechUnavailable, match="EVERLOG_SPEECH_MODEL"):
        asyncio.run(voice.speak("Hello.", "ann"))
    assert not children()


@proc
def test_a_listener_who_leaves_ends_the_voice(voice: LocalVoice) -> None:
    async def leave() -> None:
        speaking = asyncio.create_task(voice.speak("word " * 1_900, "ann"))
        while not children():  # noqa: ASYNC110 - nothing tells of another process
            await asyncio.sleep(0.002)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)

    asyncio.run(leave())
    assert not children()


PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "providers.speech.child", "espeak", str(os.getpid())],
                         stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells children")
def test_a_voice_does_not_outlive_its_parent() -> None:
    root = Path(speech.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout
        pid = parent.stdout.readline().decode().strip()
        parent.kill()
    eventually(lambda: not alive(pid), "the voice lives on")


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Markdown


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("# Title\n\nBody", "Title\n\nBody"),
        ("Title\n=====\n## Sub ##", "Title\n\nSub"),
        ("**bold**, *it*, __b__, _i_, ***both***, ~~gone~~", "bold, it, b, i, both, gone"),
        ("snake_case, 2 * 3, 2**10, C# and 5 > 3", "snake_case, 2 * 3, 2**10, C# and 5 > 3"),
        ("call `run()` now", "call run() now"),
        ("before\n```python\nprint('x')\n```\nafter", "before\nafter"),
        ("before\n~~~~\n~~~\ncode\n~~~~\nafter", "before\nafter"),
        ("before\n```\nnever closed", "before"),
        ("see [the docs](https://a.b/c_(d) 'title').", "see the docs."),
        ("see [the docs][ref].\n\n[ref]: https://a.b/c", "see the docs."),
        ("![a cat](data:image/png;base64,AAAA)Look", "Look"),
        ("[![badge](b.png)](https://a.b) Name", "Name"),
        ("so it is [1], they say[2, 3][^4].", "so it is, they say."),
        (
            "a footnote[^a] is\n\n[^a]: The *note*, see [x](https://x.org).\n\nnot spoken",
            "a footnote is\n\nnot spoken",
        ),
        ("the first is `xs[1]`", "the first is xs[1]"),
        ("![x](data:image/svg+xml,<svg/>)not [opened](javascript:x)", "not opened"),
        (
            "- one\n  ```\n  code\n  ```\n  goes **on\n  for** long\n\n  and on",
            "one\ngoes on\nfor long\n\nand on",
        ),
        ("| | b |\n|-|-|\n| 1 | |", "b\n\n1"),
        ("so it is[[1]](https://a.b) and [2](https://c.d).", "so it is and."),
        ("read https://www.example.org/a/b?c=d. Then <https://x.org>", "read example.org. Then x.org"),
        ("- one\n* two\n+ three\n1. four\n2) five\n- [x] six", "one\ntwo\nthree\nfour\nfive\nsix"),
        ("> quoted\n> > twice", "quoted\ntwice"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b\n\n1, 2"),
        ("one\n\n---\n\n***\n\ntwo", "one\n\ntwo"),
        ("<b>hi</b><br/>there <!-- hidden --> &amp; 3 < 4", "hithere & 3 < 4"),
        (r"it\*s \# plain", "it*s # plain"),
        ("这是**重要**的。", "这是重要的。"),
        ("Nothing to change, is there? -5 degrees.", "Nothing to change, is there? -5 degrees."),
        ("", ""),
    ],
)
def test_of_markdown_the_words_remain(markdown: str, words: str) -> None:
    assert plain(markdown) == words


BAITS = ["[", "![", "](", "[a](", "[a]((", "<!--", "*", "_", "`", "<a", "[^", "[1,", "https://", "~~~", "# "]
BAITS += ["- ", "> ", "|", "\\", "&", "- [x] ", "1. ", " #", "https://a/.", "a_", "-", " ", "* ", "\n"]


@pytest.mark.parametrize("bait", BAITS)
def test_no_text_makes_the_stripping_slow(bait: str) -> None:
    text = bait * (200_000 // len(bait)) + "a"
    started = time.process_time()
    plain(text)
    assert time.process_time() - started < 2  # a tenth of that is usual; quadratic takes minutes
