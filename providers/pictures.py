"""Pictures attached to a message: checked by decoding them, and written anew as WebP."""

import base64
import io
import re
import threading
import warnings
from collections.abc import Sequence
from typing import Literal
from urllib.parse import unquote

from PIL import Image, ImageOps

MAX_PICTURES = 10
MAX_BYTES = 20 * 1024 * 1024
"""All pictures of one message together, decoded from base64."""
MAX_PIXELS = 50_000_000
MAX_SIDE = 2_048
"""Pixels; no vision model looks at more."""
QUALITY = 85
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
DECODED_AT_ONCE = 2
"""A picture of 50 megapixels takes 200 MB while it is decoded."""

TOO_MANY_PIXELS = f"larger than {MAX_PIXELS // 1_000_000} megapixels: send a smaller one"
# The words of Khoj, which its clients show as they are.
TOO_MANY = "Those are way too many images for me! I can handle up to 10 images per message."
TOO_LARGE = "Those images are way too large for me! I can handle up to 20MB of images per message."

_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_decoding = threading.BoundedSemaphore(DECODED_AT_ONCE)

# What Pillow finds large by itself, such as a frame larger than the header said, is an error as well.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class PictureRefused(ValueError):
    """The reason is for the person who sent the pictures."""

    def __init__(self, kind: Literal["too-many", "too-large", "invalid"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def pictures_of(images: Sequence[str]) -> list[str]:
    """The pictures as "data:image/webp;base64,…", upright, at most 2048 pixels a side, without metadata.

    Each is given as a data URI, as a URL-encoded data URI or as bare base64, of PNG, JPEG, WebP or GIF (its
    first frame). Blocking: up to seconds a picture. Raises PictureRefused.
    """
    if len(images) > MAX_PICTURES:
        raise PictureRefused("too-many", TOO_MANY)
    # Three characters may stand for one (%2B), four characters of base64 for three bytes.
    if sum(map(len, images)) > 3 * MAX_BYTES * 4 // 3 + 1_000 * MAX_PICTURES:
        raise PictureRefused("too-large", TOO_LARGE)
    contents = [_content(image, number) for number, image in enumerate(images, 1)]
    if sum(map(len, contents)) > MAX_BYTES:
        raise PictureRefused("too-large", TOO_LARGE)
    return [_numbered(content, number) for number, content in enumerate(contents, 1)]


def data_uri(content: bytes) -> str:
    """A picture as "data:image/webp;base64,…", nothing but what is seen. Raises PictureRefused."""
    try:
        with _decoding, Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise _invalid(TOO_MANY_PIXELS)
            webp = _webp(picture)
    except PictureRefused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _invalid(TOO_MANY_PIXELS) from None
    except Exception:  # the decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise _invalid(
            "not a PNG, JPEG, WebP or GIF that can be read: save it anew in one of these formats"
        ) from None
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def _content(image: str, number: int) -> bytes:
    spelled = unquote(image).strip()
    start = _DATA_URI.match(spelled)
    if start is None and ":" in spelled[:200]:
        raise _invalid(
            f"image {number} is not base64: send it as a data URI (data:image/png;base64,…) or as bare base64"
        )
    digits = _SPACE.sub("", spelled[start.end() if start else 0 :]).rstrip("=")
    digits = digits.translate({ord("-"): "+", ord("_"): "/"})
    try:
        content = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise _invalid(f"image {number} is not base64: send the bytes of the picture as base64") from None
    if not content:
        raise _invalid(f"image {number} is not a picture: it is empty")
    return content


def _numbered(content: bytes, number: int) -> str:
    try:
        return data_uri(content)
    except PictureRefused as refused:
        raise _invalid(f"image {number} is {refused}") from None


def _webp(picture: Image.Image) -> bytes:
    picture.thumbnail((MAX_SIDE, MAX_SIDE))  # decodes, a JPEG no larger than needed
    upright = ImageOps.exif_transpose(picture)
    plain = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    written = io.BytesIO()
    plain.save(written, "WEBP", quality=QUALITY, exif=b"", icc_profile=b"", xmp=b"")
    return written.getvalue()


def _invalid(reason: str) -> PictureRefused:
    return PictureRefused("invalid", reason)
