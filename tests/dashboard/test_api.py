"""The HTTP API: the same image as the page gives, and a sentence for everything else."""

import io
import random

import pytest
from conftest import image_bytes, mutated, resident_mib
from PIL import Image
from starlette.testclient import TestClient

import api
import intake
import service
import serving
from facesr.errors import ParamsError

PNG = image_bytes()


@pytest.fixture
def environment(project, monkeypatch):
    """Set who may use the API."""

    def set_to(**values):
        for name in (api.SWITCH, api.TOKEN):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_to


@pytest.fixture
def client(environment):
    environment(FACESR_API="open")
    with TestClient(api.application(), base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize("value", ["", "0"])
def test_without_the_switch_every_path_of_the_api_is_missing(environment, value):
    environment(FACESR_API=value, FACESR_API_TOKEN="s3cret")
    with TestClient(api.application()) as client:
        for path in ("/api/v1/enhance", "/api/v1/health"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
            assert "switched off" in answer.json()["message"]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"FACESR_API": "1"}, "FACESR_API_TOKEN"),
        ({"FACESR_API": "1", "FACESR_API_TOKEN": " \n"}, "FACESR_API_TOKEN"),
        ({"FACESR_API": "open", "FACESR_API_TOKEN": "s3cret"}, "FACESR_API_TOKEN is set"),
        ({"FACESR_API": "true"}, "'true'"),
    ],
)
def test_an_environment_that_does_not_say_who_may_come_in_is_refused(environment, environ, words):
    environment(**environ)
    with pytest.raises(ParamsError, match=words) as caught:
        api.application()
    assert "\n" not in str(caught.value)


def test_page_and_api_give_equal_bytes(page, client, registry):
    registry.versions = {7: ("champion",)}
    shown = page()
    shown.enhance(("kid.png", PNG))
    answer = client.post("/api/v1/enhance", content=PNG, headers={"content-type": "image/png"})
    assert answer.status_code == 200
    assert answer.content == shown.results[0].enhanced.png
    assert answer.headers["x-model-version"] == "7"
    assert answer.headers["x-input-size"] == "48x40"
    assert answer.headers["server-timing"].startswith("model;dur=")
    assert Image.open(io.BytesIO(answer.content)).size == (512, 427)


@pytest.mark.parametrize(("name", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_other_formats_are_written_with_their_provenance(client, registry, name, kind):
    registry.versions = {7: ("champion",)}
    answer = client.post(f"/api/v1/enhance?format={name}&strength=0.5", content=PNG)
    image = Image.open(io.BytesIO(answer.content))
    assert image.format == kind
    made_by = image.getexif()[0x0131]
    assert "model facesr/7 (0123abcd)" in made_by
    assert "size 512; strength 0.5; blend 1" in made_by


def test_of_an_animated_file_the_first_image_is_taken_and_the_answer_says_so(client):
    buffer = io.BytesIO()
    first, other = (Image.new("RGB", (48, 48), colour) for colour in ("red", "blue"))
    first.save(buffer, "PNG", save_all=True, append_images=[other])
    answer = client.post("/api/v1/enhance", content=buffer.getvalue())
    assert answer.headers["x-remark"] == intake.FIRST_ONLY
    assert Image.open(io.BytesIO(answer.content)).getpixel((9, 9)) == (255, 0, 0)
    assert "x-remark" not in client.post("/api/v1/enhance", content=PNG).headers


@pytest.mark.parametrize(
    ("query", "body", "status", "code"),
    [
        ("", b"<svg/>", 422, "not_an_image"),
        ("", image_bytes(8, 8), 422, "too_small"),
        ("", image_bytes(600, 300), 422, "already_larger"),
        ("", image_bytes(96, 96, "JPEG")[:600], 422, "damaged"),
        ("", b"", 422, "empty"),
        ("?size=700", PNG, 422, "bad_setting"),
        ("?size=x", PNG, 422, "bad_setting"),
        ("?strength=nan", PNG, 422, "bad_setting"),
        ("?format=exe", PNG, 422, "bad_setting"),
        ("?faces=two", PNG, 422, "bad_setting"),
        ("?faces=only&model=bicubic", PNG, 422, "bad_setting"),
        ("?colour=red", PNG, 422, "bad_setting"),
        ("?model=facesr/99", PNG, 503, "no_model"),
        ("?model=../../etc/passwd", PNG, 503, "no_model"),
    ],
)
def test_a_request_that_cannot_be_served_says_why(client, registry, query, body, status, code):
    answer = client.post(f"/api/v1/enhance{query}", content=body)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert answer.json()["message"].endswith(".")


def test_another_type_is_refused_before_the_body_is_read(client):
    answer = client.post("/api/v1/enhance", content=PNG, headers={"content-type": "text/html"})
    assert answer.status_code == 415


def test_a_body_that_is_too_big_is_refused_by_its_header(client):
    answer = client.post(
        "/api/v1/enhance", content=b"x", headers={"content-length": str(2 * 1024**3)}
    )
    assert (answer.status_code, answer.json()["error"]) == (413, "too_big")


def test_a_stream_that_grows_too_big_is_cut(client):
    chunks = (bytes(intake.MEGABYTE) for _ in range(12))
    answer = client.post("/api/v1/enhance", content=chunks)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_big")


def test_the_model_is_described_with_its_quality_and_the_limits(client, registry):
    registry.versions = {7: ("champion",)}
    described = client.get("/api/v1/model").json()
    assert described["version"] == 7
    assert described["metrics"]["model"]["faces"] == 35.0
    assert described["metrics"]["bicubic"]["faces"] == 26.4
    assert described["limits"]["bytes"] == intake.MAX_BYTES


def test_without_a_champion_the_model_is_described_by_what_serves_and_why(client, registry):
    registry.versions = {7: ("challenger",)}
    described = client.get("/api/v1/model").json()
    assert (described["name"], described["version"]) == ("Bicubic (no model)", None)
    assert "facesr v7 (challenger) is registered and does not serve." in described["note"]
    enhanced = client.post("/api/v1/enhance", content=PNG)
    assert enhanced.headers["x-model-note"] == described["note"]


@pytest.mark.parametrize("address", ["http://127.0.0.1", "http://facesr.example"])
def test_every_request_carries_the_token_whatever_address_it_comes_in_through(environment, address):
    environment(FACESR_API="1", FACESR_API_TOKEN="gehéim\n")
    with TestClient(api.application(), base_url=address) as client:
        for given in ("", "gehéim", "Bearer", "Bearer ", "Bearer other", "Basic gehéim"):
            headers = {"authorization": given.encode()} if given else {}
            for answer in (
                client.get("/api/v1/model", headers=headers),
                client.post("/api/v1/enhance", content=PNG, headers=headers),
            ):
                assert (answer.status_code, answer.json()["error"]) == (401, "unauthorised")
                assert answer.headers["www-authenticate"] == "Bearer"
        for given in ("Bearer gehéim", "bearer gehéim"):
            headers = {"authorization": given.encode()}
            assert client.get("/api/v1/model", headers=headers).status_code == 200
        assert client.get("/api/v1/health").status_code == 200


@pytest.mark.parametrize("kind", ["image/jpg", "image/jpeg", "image/jpeg; q=1", "IMAGE/JPG", ""])
def test_a_jpeg_is_taken_under_every_name_that_programs_send(client, kind):
    answer = client.post(
        "/api/v1/enhance", content=image_bytes(48, 40, "JPEG"), headers={"content-type": kind}
    )
    assert answer.status_code == 200


def test_the_description_names_every_route_setting_and_status(client):
    described = client.get("/api/v1/openapi.json").json()
    assert {path: set(methods) for path, methods in described["paths"].items()} == {
        "/api/v1/enhance": {"post"},
        "/api/v1/model": {"get"},
        "/api/v1/health": {"get"},
    }
    enhance = described["paths"]["/api/v1/enhance"]["post"]
    assert set(enhance["responses"]) == {"200", *map(str, api.STATUS.values()), "422"}
    schemas = {parameter["name"]: parameter["schema"] for parameter in enhance["parameters"]}
    assert set(schemas) == {"size", "format", "model", "strength", "faces"}
    assert schemas["size"]["enum"] == list(service.SIZES)
    images = {f"image/{name}" for name in service.FORMATS}
    assert set(enhance["requestBody"]["content"]) == images
    assert set(enhance["responses"]["200"]["content"]) == images


def test_the_description_asks_for_the_token_where_the_server_does(environment, client):
    assert "security" not in client.get("/api/v1/openapi.json").text
    environment(FACESR_API="1", FACESR_API_TOKEN="s3cret")
    with TestClient(api.application()) as locked:
        paths = locked.get("/api/v1/openapi.json").json()["paths"]
    assert paths["/api/v1/enhance"]["post"]["security"] == [{"HTTPBearer": []}]
    assert paths["/api/v1/model"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in paths["/api/v1/health"]["get"]


def test_the_registry_is_asked_once_for_many_requests(client, registry, monkeypatch):
    registry.versions = {7: ("champion",)}
    for _ in range(3):
        client.post("/api/v1/enhance", content=PNG)
    assert registry.loads == [7]
    assert serving.shared().is_warm


def fuzz(client, count):
    rng = random.Random(11)
    seeds = [image_bytes(48, 40, kind) for kind in ("JPEG", "PNG", "WEBP")]
    codes = set()
    for _ in range(count):
        answer = client.post(
            "/api/v1/enhance?model=bicubic", content=mutated(rng, rng.choice(seeds))
        )
        assert answer.status_code in (200, 413, 422), answer.text
        codes.add(answer.status_code)
    assert {200, 422} <= codes


def test_twenty_mutated_images_give_nothing_but_our_answers(client):
    fuzz(client, 20)


@pytest.mark.slow
def test_five_hundred_mutated_images_give_nothing_but_our_answers_and_keep_no_memory(client):
    fuzz(client, 50)
    before = resident_mib()
    fuzz(client, 500)
    assert resident_mib() - before < 100
