"""The API on a real server: many requests at once, every path, every method, every host."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import httpx
import pytest
import served
import uvicorn
from conftest import image_bytes, wait_until

import api
import service
from facesr.enhance.enhancer import Enhancer

PNG = image_bytes()
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
PLACES = service.shared_gate().slots + service.shared_gate().max_waiting


@pytest.fixture
def address(project, registry, monkeypatch):
    """The API alone, in this process, so that a test can hold the model up."""
    monkeypatch.setenv(api.SWITCH, "open")
    monkeypatch.delenv(api.TOKEN, raising=False)
    server = uvicorn.Server(
        uvicorn.Config(api.application(), port=0, log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_beyond_the_queue_each_request_is_refused_at_once_and_the_model_is_described(
    address, monkeypatch, cores
):
    # The size of asyncio's own pool of threads.
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    release, enhance = threading.Event(), Enhancer.enhance

    def held_up(self, *arguments, **options):
        release.wait(30)
        return enhance(self, *arguments, **options)

    monkeypatch.setattr(Enhancer, "enhance", held_up)
    count = PLACES + 7
    with httpx.Client(base_url=address, timeout=60) as client, ThreadPoolExecutor(count) as pool:
        client.get("/api/v1/model")  # loads the registry's library
        posts = [pool.submit(client.post, "/api/v1/enhance", content=PNG) for _ in range(count)]
        try:
            refused = [post.result() for post in islice(as_completed(posts, 10), 7)]
            start = time.monotonic()
            for path in ("/api/v1/health", "/api/v1/model", "/api/v1/openapi.json"):
                assert client.get(path).status_code == 200
            seconds = time.monotonic() - start
            assert len(service.shared_gate()) == PLACES
        finally:
            release.set()
        answers = [post.result() for post in posts]
    assert {(r.status_code, r.json()["error"], r.headers["retry-after"]) for r in refused} == {
        (429, "busy", "5")
    }
    assert seconds < 1
    assert sorted(answer.status_code for answer in answers) == [200] * PLACES + [429] * 7
    assert len(service.shared_gate()) == 0


def test_a_request_that_fails_gives_its_place_back(address, monkeypatch):
    def fail(self, *arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(Enhancer, "enhance", fail)
    with httpx.Client(base_url=address, timeout=60) as client:
        for content, status in ((b"", 422), (b"<svg/>", 422), (PNG, 500)):
            answer = client.post("/api/v1/enhance", content=content)
            assert (answer.status_code, answer.headers["content-type"]) == (
                status,
                "application/json",
            )
    assert len(service.shared_gate()) == 0


@pytest.fixture(scope="module", params=["open", "0"])
def whole(request, tmp_path_factory):
    """The address of page and API as `streamlit run` serves them, and whether the API is on."""
    folder = tmp_path_factory.mktemp("project")
    with served.serve(folder, FACESR_API=request.param) as (address, _):
        yield address, request.param == "open"


def test_below_the_prefix_every_error_is_json_whatever_path_and_method(whole):
    address, is_on = whole
    allowed = {"enhance": {"POST"}, "model": {"GET", "HEAD"}, "health": {"GET", "HEAD"}}
    with httpx.Client(base_url=address, timeout=30) as client:
        for name, methods in allowed.items():
            for method in set(METHODS) - (methods if is_on else set()):
                answer = client.request(method, f"/api/v1/{name}")
                if is_on:
                    assert answer.status_code == 405, (method, name)
                    assert set(answer.headers["allow"].split(", ")) == methods
                else:
                    assert answer.status_code == 404, (method, name)
                assert answer.headers["content-type"] == "application/json"
                if method != "HEAD":
                    assert set(answer.json()) == {"error", "message"}
        paths = (
            "",
            "/",
            "/v1",
            "/v1/",
            "/v1/nothing",
            "/v1/model/",
            "/v2/enhance",
            "//x",
            "/a.png",
        )
        for path in (*paths, "/v1/%2e%2e/x", "/v1/%00"):
            for method in METHODS:
                answer = client.request(method, f"/api{path}")
                assert answer.status_code == 404, (method, path)
                assert answer.headers["content-type"] == "application/json"
                assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/").headers["content-type"].startswith("text/html")
        assert client.get("/apiary").headers["content-type"].startswith("text/html")


def test_health_is_answered_to_every_host_and_all_else_to_ours_only(whole):
    address, is_on = whole
    with httpx.Client(base_url=address, headers={"host": "10.0.0.7"}, timeout=30) as client:
        assert client.get("/_stcore/health").status_code == 200
        assert client.get("/api/v1/health").status_code == (200 if is_on else 404)
        assert client.get("/").status_code == 400
        answer = client.get("/api/v1/model")
    assert (answer.status_code, json.loads(answer.text)["error"]) == (400, "unknown_host")


def test_the_server_does_not_start_with_an_api_that_nobody_locked(tmp_path):
    server = served.serve(tmp_path, FACESR_API="1", FACESR_API_TOKEN="")
    with pytest.raises(AssertionError, match=r"error: FACESR_API=1 needs a token\. Set"), server:
        pass
    assert "Traceback" not in (tmp_path / "server.log").read_text()
