"""Downloads exist as long as they are offered, at addresses that cannot be guessed."""

import gc

import pytest
from starlette.routing import request_response
from starlette.testclient import TestClient

import downloads
from downloads import Download

JPEG = b"\xff\xd8\xff"


@pytest.fixture
def client():
    return TestClient(request_response(downloads.answer))


def test_a_file_is_made_at_the_download_and_as_often_as_it_is_asked_for(client):
    made = []
    file = Download("kid_512.jpg", "image/jpeg", lambda: made.append(1) or JPEG)
    assert made == []
    for times in (1, 2):
        answer = client.get(file.address)
        assert (answer.status_code, answer.content, len(made)) == (200, JPEG, times)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"


def test_a_file_keeps_its_name_in_every_script(client):
    file = Download('gr\u00fc\u00dfe "\u7530".png', "image/png", lambda: JPEG)
    sent = client.get(file.address).headers["content-disposition"]
    assert sent == "attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe%20%22%E7%94%B0%22.png"


def test_an_address_that_nobody_offers_is_not_found(client):
    file = Download("kid.png", "image/png", lambda: JPEG)
    address = file.address
    assert client.get(f"{address}x").status_code == 404
    del file
    gc.collect()
    answer = client.get(address)
    assert (answer.status_code, answer.text) == (404, "This file is gone. Enhance the image again.")


def test_addresses_are_long_and_differ():
    files = [Download("kid.png", "image/png", lambda: JPEG) for _ in range(3)]
    assert len({file.address for file in files}) == 3
    assert all(len(file.token) >= 43 for file in files)


def test_addresses_lie_below_the_base_path_of_the_page(client, monkeypatch):
    monkeypatch.setattr(downloads.st, "get_option", lambda name: "/faces/")
    file = Download("kid.png", "image/png", lambda: JPEG)
    assert file.address == f"/faces/download/{file.token}"
    assert downloads.owns(file.address)
    assert not downloads.owns(f"/download/{file.token}")
    assert client.get(file.address).status_code == 200
