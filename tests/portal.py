"""A captive portal, a maintenance page: HTML with 200 whatever is asked."""

from http.server import BaseHTTPRequestHandler


class Portal(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Please log in</title>")

    def log_message(self, *_: object) -> None:
        pass
