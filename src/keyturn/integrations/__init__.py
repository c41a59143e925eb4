"""For the service that Keyturn protects: a `Verifier` before its handlers, in the terms of its framework.

    asgi.py            any ASGI application        wsgi.py      any WSGI application
    starlette.py       fastapi.py                  flask.py
    litestar.py        django.py                   rest_framework.py

Each of these imports its framework, and none imports another's. All ask through `protection.py` and refuse
through `refusals.py`, so that the same request gets the same answer everywhere.
"""
