"""A host on this computer that serves files, and what a test makes it answer first."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Answer(NamedTuple):
    """An answer in place of the file; None sends the file's own bytes."""

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = {}
    cut: bool = False
    """Half of the body, and the connection is closed."""
    pause: float = 0
    """Seconds in the middle of the body."""


def page(title, status=200, body=""):
    text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"
    return Answer(status, text.encode(), {"Content-Type": "text/html; charset=utf-8"})


class FileServer(ThreadingHTTPServer):
    """`files` maps a path to its bytes, `first` a path to the answers that come before them."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.first = {}
        self.asked = []

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request, client_address):
        pass  # clients that go away are part of the tests


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        first = self.server.first.get(path)
        answer = first.pop(0) if first else Answer(200 if path in self.server.files else 404)
        body = self.server.files.get(path, b"") if answer.body is None else answer.body
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        time.sleep(answer.pause)
        if not answer.cut:
            self.wfile.write(body[half:])


@contextmanager
def file_server():
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
