"""The image model against a real HTTP server that is told what to answer."""

import asyncio
import base64
import io
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from providers.models import endpoint as models
from providers.models import image_model
from providers.models.image_model import ImageModel, ImageRefused, ImageUnavailable
from runtime.composition import image_model_of
from runtime.settings import Settings
from tests.support.endpoint import Answer, Endpoint

KEY = "sk-secret-of-images"
PROMPT = "a private garden at dawn"


def encoded(mode: str = "RGB", size: tuple[int, int] = (8, 6), kind: str = "PNG") -> str:
    written = io.BytesIO()
    Image.new(mode, size, "red").save(written, kind)
    return base64.b64encode(written.getvalue()).decode()


def answer_of(**picture: Any) -> Answer:
    return 200, {"created": 1, "data": [picture]}


def pictures(_: dict[str, Any]) -> Answer:
    return answer_of(b64_json=encoded())


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(pictures)
    yield endpoint
    endpoint.close()


def painted(endpoint: Endpoint, times: int = 1) -> str:
    async def paint() -> str:
        model = ImageModel(models.Endpoint(endpoint.url, KEY), "painter-1")
        try:
            return [await model.paint(PROMPT) for _ in range(times)][-1]
        finally:
            await model.close()

    return asyncio.run(paint())


def opened(uri: str) -> Image.Image:
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content, validate=True)), formats=["WEBP"])


def test_a_picture_comes_as_a_data_uri_of_webp(endpoint: Endpoint) -> None:
    assert opened(painted(endpoint)).size == (8, 6)
    assert endpoint.asked == [
        {"model": "painter-1", "prompt": PROMPT, "n": 1, "response_format": "b64_json"},
    ]


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("L", "PNG"), ("P", "PNG"), ("RGB", "WEBP")])
def test_every_usual_format_is_taken(endpoint: Endpoint, mode: str, kind: str) -> None:
    endpoint.answers = [answer_of(b64_json=encoded(mode, kind=kind))]
    assert opened(painted(endpoint)).mode == "RGB"


def test_transparency_stays(endpoint: Endpoint) -> None:
    endpoint.answers = [answer_of(b64_json=encoded("RGBA"))]
    written = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(written, "PNG")
    endpoint.answers = [answer_of(b64_json=base64.b64encode(written.getvalue()).decode())]
    assert opened(painted(endpoint)).getpixel((0, 0)) == (0, 0, 0, 0)


def test_what_a_picture_says_beside_its_pixels_is_not_passed_on(endpoint: Endpoint) -> None:
    written = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "made by somebody"
    Image.new("RGB", (4, 4)).save(written, "JPEG", exif=exif)
    endpoint.answers = [answer_of(b64_json=base64.b64encode(written.getvalue()).decode())]
    assert not opened(painted(endpoint)).getexif()


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Unknown parameter: 'response_format'.", "param": "response_format"},
        {"message": "response_format is not supported by this model"},
    ],
)
def test_an_endpoint_that_takes_no_response_format_is_asked_without_and_that_is_kept_in_mind(
    endpoint: Endpoint, error: dict[str, str]
) -> None:
    endpoint.answers = [(400, {"error": error})]
    painted(endpoint, times=2)
    assert ["response_format" in asked for asked in endpoint.asked] == [True, False, False]


def test_an_endpoint_that_goes_on_complaining_is_not_asked_forever(endpoint: Endpoint) -> None:
    endpoint.usual = lambda _: (400, {"error": {"message": "bad", "param": "response_format"}})
    with pytest.raises(ImageRefused, match="HTTP 400"):
        painted(endpoint)
    assert len(endpoint.asked) == 2


def test_a_data_uri_in_place_of_an_address_is_taken(endpoint: Endpoint) -> None:
    endpoint.answers = [answer_of(url="data:image/png;base64," + encoded())]
    assert opened(painted(endpoint)).size == (8, 6)


def test_an_address_is_never_fetched(endpoint: Endpoint) -> None:
    endpoint.answers = [answer_of(url=endpoint.url + "/picture.png")]
    with pytest.raises(ImageRefused, match="EVERLOG_IMAGE_MODEL"):
        painted(endpoint)
    assert len(endpoint.asked) == 1


def test_a_passing_failure_is_tried_again(endpoint: Endpoint) -> None:
    endpoint.answers = [(503, {"error": {"message": "later"}})]
    assert opened(painted(endpoint))


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_a_lasting_failure_is_unavailable(endpoint: Endpoint, status: int) -> None:
    endpoint.usual = lambda _: (status, {"error": {"message": "no", "code": "some_reason"}})
    with pytest.raises(ImageUnavailable, match=f"HTTP {status}, some_reason"):
        painted(endpoint)


def test_a_refusal_is_no_failure_and_says_why_without_prompt_or_key(endpoint: Endpoint) -> None:
    said = {"message": f"{PROMPT} {KEY}", "code": "content_policy_violation"}
    endpoint.usual = lambda _: (400, {"error": said})
    with pytest.raises(ImageRefused, match="content_policy_violation") as raised:
        painted(endpoint)
    printed = "".join(traceback.format_exception(raised.value))
    assert PROMPT not in printed
    assert KEY not in printed


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        {"data": []},
        {"data": [{}]},
        {"data": None},
        {"data": [{"b64_json": "!!!"}]},
        {"data": [{"b64_json": base64.b64encode(b"GIF89a nothing").decode()}]},
        {"data": [{"b64_json": base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()}]},
        {"data": [{"b64_json": encoded()[:60]}]},
        {"data": [{"url": "data:text/html;base64,PGI+"}]},
    ],
)
def test_what_is_no_picture_is_unavailable(endpoint: Endpoint, body: Any) -> None:
    endpoint.usual = lambda _: (200, body)
    with pytest.raises(ImageUnavailable):
        painted(endpoint)


def test_a_picture_of_too_many_pixels_is_not_unpacked(endpoint: Endpoint) -> None:
    endpoint.answers = [answer_of(b64_json=encoded("1", (9000, 6000)))]
    with pytest.raises(ImageUnavailable, match="pixels"):
        painted(endpoint)


def test_too_many_bytes_are_not_read(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_model, "MAX_ANSWER_BYTES", 1000)
    endpoint.answers = [answer_of(b64_json="A" * 5000)]
    with pytest.raises(ImageUnavailable, match="more than"):
        painted(endpoint)


def test_a_silent_endpoint_is_given_up(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_model, "DEADLINE_SECONDS", 0.2)
    endpoint.delay = 30.0
    with pytest.raises(ImageUnavailable, match="too long"):
        painted(endpoint)


def test_nobody_there_is_unavailable(endpoint: Endpoint) -> None:
    endpoint.close()
    with pytest.raises(ImageUnavailable, match="APIConnectionError"):
        painted(endpoint)


def test_there_is_a_model_only_where_one_and_an_endpoint_are_configured() -> None:
    assert image_model_of(Settings()) is None
    assert image_model_of(Settings(openai_api_key=KEY)) is None
    assert image_model_of(Settings(image_model="painter-1")) is None
    assert image_model_of(Settings(image_model="painter-1", openai_api_key=KEY))
    assert image_model_of(Settings(image_model="painter-1", openai_base_url="http://127.0.0.1:1/v1"))
