"""Makes the header of a GGUF file."""

import struct
from pathlib import Path

GGUF_TEXT, GGUF_U32, GGUF_ARRAY = 8, 4, 9


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words.encode())) + words.encode()


def header(context: int | None) -> bytes:
    """A model's header that says, or does not say, how many tokens the model takes."""
    entries = [
        text("general.architecture") + struct.pack("<I", GGUF_TEXT) + text("llama"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", GGUF_ARRAY, GGUF_TEXT, 2) + text("a") + text("b"),
        text("tokenizer.ggml.types") + struct.pack("<IIQII", GGUF_ARRAY, GGUF_U32, 2, 1, 1),
    ]
    if context is not None:
        entries.append(text("llama.context_length") + struct.pack("<II", GGUF_U32, context))
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


def model_file(folder: Path, context: int | None = 8192) -> Path:
    file = folder / "tiny-model.gguf"
    file.write_bytes(header(context))
    return file
