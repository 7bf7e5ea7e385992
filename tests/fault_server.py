"""A host on this computer that serves files and every fault that real hosts have."""

import hashlib
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

QUOTA_PAGE = b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title></html>"
CONFIRM_PAGE = (
    b"<html><head><title>Virus scan warning</title></head><body>"
    b'<form action="/confirmed"><input name="id" value="%s"><input name="confirm" value="t">'
    b"</form></body></html>"
)


class FaultServer(ThreadingHTTPServer):
    """`files` maps a path to its bytes, `faults` a path to the faults of its next answers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.faults = {}
        self.retry_after = "0"
        self.ranges = True
        self.tags = True
        self.requests = []
        self.lock = threading.Lock()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request, client_address):
        pass  # clients that go away are part of the tests


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        path = self.path.split("?")[0]
        with server.lock:
            server.requests.append((path, self.headers.get("Range", "")))
            fault = server.faults[path].pop(0) if server.faults.get(path) else None
        if path == "/confirmed":
            path = self.path.split("id=")[1].split("&")[0].replace("%2F", "/")
            fault = None
        if path not in server.files:
            return self.reply(404, b"no such file")
        content = server.files[path]
        if fault in (429, 503):
            return self.reply(
                fault, b"later", **({"Retry-After": server.retry_after} if fault == 429 else {})
            )
        if fault == "quota":
            return self.reply(200, QUOTA_PAGE, **{"Content-Type": "text/html; charset=utf-8"})
        if fault == "confirm":
            page = CONFIRM_PAGE % path.encode()
            return self.reply(200, page, **{"Content-Type": "text/html"})
        if fault == "redirect":
            return self.reply(302, b"", Location=server.url(path))
        if fault == "other content":
            content = bytes(reversed(content))
        if fault == "too long":
            content = content + b"more"
        start = 0
        asked = self.headers.get("Range")
        version = f'"{hashlib.md5(content).hexdigest()}"'
        if self.headers.get("If-Range", version) != version:
            asked = None
        if asked and server.ranges and fault not in ("other content", "too long"):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                return self.reply(416, b"")
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.tags:
            self.send_header("ETag", version)
        if start:
            total = len(content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            return self.connection.close()
        if fault == "stall":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(1.5)
            self.close_connection = True
            return None
        if fault == "hang":
            # Until the client is gone.
            self.wfile.write(body[: len(body) * 3 // 4])
            self.wfile.flush()
            self.rfile.read(1)
            self.close_connection = True
            return None
        if fault == "slow":
            for position in range(0, len(body), 20_000):
                self.wfile.write(body[position : position + 20_000])
                self.wfile.flush()
                time.sleep(0.05)
            return None
        return self.wfile.write(body)

    def reply(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def fault_server():
    server = FaultServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
