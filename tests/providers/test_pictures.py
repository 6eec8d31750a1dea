"""Attached images are decoded, made small and written anew; what is none is refused by its number."""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from providers.pictures import MAX_BYTES, PictureRefused, pictures_of

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(form: str = "PNG", size: tuple[int, int] = (30, 20), **options: object) -> bytes:
    """Red, with a blue left half."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (0, 0, size[0] // 2, size[1]))
    written = io.BytesIO()
    image.save(written, form, **options)
    return written.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64_of(content)}"


def opened(uri: str) -> Image.Image:
    start, _, digits = uri.partition(",")
    assert start == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(digits, validate=True)))
    assert image.format == "WEBP"
    return image


def near(image: Image.Image, x: int, y: int, colour: tuple[int, int, int]) -> bool:
    found = image.convert("RGB").getpixel((x, y))
    assert isinstance(found, tuple)
    return all(abs(a - b) < 30 for a, b in zip(found, colour, strict=True))


def refusal(*images: str) -> PictureRefused:
    with pytest.raises(PictureRefused) as refused:
        pictures_of(images)
    return refused.value


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_each_format_becomes_webp_of_the_same_picture(form: str) -> None:
    [uri] = pictures_of([data_uri(picture(form), f"image/{form.lower()}")])
    image = opened(uri)
    assert image.size == (30, 20)
    assert near(image, 5, 10, BLUE)
    assert near(image, 25, 10, RED)


@pytest.mark.parametrize(
    "spelled",
    [
        data_uri,
        lambda content: quote(data_uri(content), safe=""),
        lambda content: "data:image/png;base64," + quote(base64_of(content), safe=""),
        lambda content: f"  DATA:;name=a.png;base64,\n{base64_of(content)}\n",
        lambda content: "data:text/html;base64," + base64_of(content),
        base64_of,
        lambda content: quote(base64_of(content), safe=""),
        lambda content: base64.encodebytes(content).decode().replace("\n", "\r\n"),
        lambda content: base64_of(content).rstrip("="),
        lambda content: base64.urlsafe_b64encode(content).decode(),
    ],
    ids=[
        "data URI",
        "URL-encoded data URI",
        "data URI with URL-encoded base64",
        "odd data URI",
        "data URI that lies",
        "bare base64",
        "URL-encoded base64",
        "with newlines",
        "without padding",
        "urlsafe",
    ],
)
@pytest.mark.parametrize("width", [30, 31, 32, 33])
def test_a_picture_is_taken_in_every_spelling(spelled: Callable[[bytes], str], width: int) -> None:
    assert opened(pictures_of([spelled(picture(size=(width, 20)))])[0]).size == (width, 20)


def test_pictures_keep_their_order() -> None:
    uris = pictures_of([base64_of(picture(size=(width, 8))) for width in (10, 20, 30)])
    assert [opened(uri).width for uri in uris] == [10, 20, 30]
    assert pictures_of([]) == []


def test_metadata_is_dropped_and_the_picture_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter clockwise
    exif[0x010E] = "taken at home"
    [uri] = pictures_of([data_uri(picture("JPEG", (40, 20), exif=exif, comment=b"taken at home"))])
    image = opened(uri)
    assert image.size == (20, 40)
    assert near(image, 10, 5, BLUE)
    assert near(image, 10, 35, RED)
    assert not image.getexif()
    assert b"taken at home" not in base64.b64decode(uri.partition(",")[2])


def test_a_text_chunk_of_a_png_and_colour_profiles_are_dropped() -> None:
    [uri] = pictures_of([base64_of(picture(icc_profile=b"a profile of mine"))])
    assert "icc_profile" not in opened(uri).info


@pytest.mark.parametrize(("size", "becomes"), [((4096, 1024), (2048, 512)), ((3, 5000), (1, 2048))])
def test_a_large_picture_is_made_smaller(size: tuple[int, int], becomes: tuple[int, int]) -> None:
    assert opened(pictures_of([base64_of(picture(size=size))])[0]).size == becomes


def test_transparency_is_kept() -> None:
    written = io.BytesIO()
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(written, "PNG")
    image = opened(pictures_of([base64_of(written.getvalue())])[0])
    assert image.mode == "RGBA"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_every_mode_of_colour_is_taken(mode: str) -> None:
    written = io.BytesIO()
    Image.new(mode, (10, 10)).save(written, "JPEG" if mode == "CMYK" else "PNG")
    assert opened(pictures_of([base64_of(written.getvalue())])[0]).size == (10, 10)


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(form: str) -> None:
    written = io.BytesIO()
    Image.new("RGB", (10, 10), RED).save(
        written, form, save_all=True, append_images=[Image.new("RGB", (10, 10), BLUE)]
    )
    image = opened(pictures_of([base64_of(written.getvalue())])[0])
    assert near(image, 5, 5, RED)
    assert getattr(image, "n_frames", 1) == 1


def test_eleven_pictures_are_too_many() -> None:
    one = base64_of(picture())
    assert len(pictures_of([one] * 10)) == 10
    refused = refusal(*[one] * 11)
    assert refused.kind == "too-many"
    assert str(refused) == "Those are way too many images for me! I can handle up to 10 images per message."


@pytest.mark.parametrize("parts", [1, 4])
def test_more_than_twenty_megabytes_are_too_large(parts: int) -> None:
    refused = refusal(*["A" * (MAX_BYTES // 3 * 4 // parts + 8)] * parts)
    assert refused.kind == "too-large"
    assert (
        str(refused)
        == "Those images are way too large for me! I can handle up to 20MB of images per message."
    )


def test_megabytes_of_url_encoding_are_too_large_before_they_are_decoded() -> None:
    assert refusal("%41" * (2 * MAX_BYTES)).kind == "too-large"


@pytest.mark.filterwarnings("error")  # pytest takes away the filter of the server
@pytest.mark.parametrize("side", [7_100, 10_000, 30_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    bomb = png_claiming(side, side)
    assert len(bomb) < 500
    refused = refusal(base64_of(bomb))
    assert refused.kind == "invalid"
    assert str(refused) == "image 1 is larger than 50 megapixels: send a smaller one"


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    "junk",
    [
        "",
        " ",
        "junk",
        "%%%",
        "not base64 at all!",
        "Grüße",
        "\ud800",
        "A",
        "data:image/png;base64,",
        "data:image/png;base64,====",
        "data:image/png,rawbytes",
        "data:,",
        "https://example.com/cat.png",
        "file:///etc/passwd",
        SVG.decode(),
        data_uri(SVG, "image/svg+xml"),
        "data:image/svg+xml;utf8," + quote(SVG.decode()),
        data_uri(b"%PDF-1.4"),
        data_uri(picture("BMP")),
        data_uri(picture("TIFF")),
        data_uri(picture("JPEG", (200, 200))[:-300], "image/jpeg"),
        data_uri(picture("PNG", (200, 200))[:-100]),
        data_uri(picture("WEBP", (200, 200))[:-30]),
        data_uri(picture("GIF", (200, 200))[:40]),
        data_uri(png_claiming(1000, 1000)),
        data_uri(png_claiming(0, 1000)),
    ],
)
def test_junk_is_refused_by_its_number(junk: str) -> None:
    refused = refusal(data_uri(picture()), junk)
    assert refused.kind == "invalid"
    assert str(refused).startswith("image 2 is not ")
    assert refused.__cause__ is None


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(data_uri)))
def test_whatever_is_attached_the_answer_is_pictures_or_a_refusal(image: str) -> None:
    assert refusal(image).kind == "invalid"


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_damaged_picture_is_read_or_refused(place: int, damage: bytes) -> None:
    content = bytearray(picture("JPEG"))
    content[place : place + len(damage)] = damage
    try:
        opened(pictures_of([base64_of(bytes(content))])[0])
    except PictureRefused as refused:
        assert refused.kind == "invalid"
