"""Raw ASGI: the server, the gate that every request passes first, `/verify` and the feed."""
