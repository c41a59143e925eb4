"""The least that an ASGI application can do, served as Keyturn is: the ratio's denominator.

`python -m bench.bare PORT` serves it exactly as Keyturn serves itself; `… PORT plain` with uvicorn's own
HTTP protocol, to show what Keyturn's bounded one costs.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from keyturn.settings import read_settings
from keyturn.web.edge.server import Server, bind, server_config

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"0")],
}
_END: Message = {"type": "http.response.body", "body": b""}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with 200 and nothing."""
    if scope["type"] == "lifespan":
        for done in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{done}.complete"})
        return
    await send(_START)
    await send(_END)


def main(port: int, *, plain: bool) -> None:
    """Serve until SIGTERM."""
    settings = read_settings({}, port=port, database="sqlite:///unused.db")
    config = server_config(application, settings)
    if plain:
        config.http = "httptools"
    with bind(settings.host, settings.port) as listener:
        Server(config, settings).run(sockets=[listener])


if __name__ == "__main__":
    main(int(sys.argv[1]), plain="plain" in sys.argv[2:])
