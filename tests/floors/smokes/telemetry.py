"""`pip install keyturn[telemetry]`: traces are sent to a collector."""

import asyncio
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from keyturn.web.edge.tracing import Traces

received: list[bytes] = []


class Collector(BaseHTTPRequestHandler):
    """Takes what is sent."""

    def do_POST(self) -> None:
        """Take spans."""
        received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


with HTTPServer(("127.0.0.1", 0), Collector) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_address[1]}"
    traces = Traces()

    async def respond() -> None:
        """Answer nothing."""

    asyncio.run(traces.trace({"method": "GET", "headers": [], "path_template": "/smoke"}, respond))
    traces.close()
    server.shutdown()

assert any(b"GET /smoke" in body for body in received)
