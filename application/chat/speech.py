"""Answers read aloud."""

import asyncio

from application.chat.chat import Chat
from application.refusals import NoVoice, SpeechFailed, Unspeakable
from providers.speech.markdown import MAX_MARKDOWN, plain
from providers.speech.speech import MAX_TEXT, SpeechUnavailable

VOICELESS = (
    "this server has no voice: set EVERLOG_SPEECH_MODEL to a speech model of the OpenAI-compatible endpoint,"
    " or run `./everlog install speech` for a local voice, and start Everlog again"
)
SILENT = "there is nothing to speak: the text is empty, or holds nothing but code and images"
TOO_LONG = f"the text is longer than {MAX_TEXT:,} characters: send it in parts"


async def speak(chat: Chat, owner: str, text: str) -> bytes:
    """A text as MP3; its Markdown is not spoken. Raises Unspeakable, NoVoice and SpeechFailed."""
    if len(text) > MAX_MARKDOWN:
        raise Unspeakable(TOO_LONG)
    words = await asyncio.to_thread(plain, text)
    if not any(character.isprintable() and not character.isspace() for character in words):
        raise Unspeakable(SILENT)
    if len(words) > MAX_TEXT:
        raise Unspeakable(TOO_LONG)
    if chat.means.voice is None:
        raise NoVoice(VOICELESS)
    try:
        return await chat.means.voice.speak(words, owner)
    except SpeechUnavailable as unavailable:
        raise SpeechFailed(str(unavailable)) from None
