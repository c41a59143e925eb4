"""Clients in the words of people: Chrome on Linux, curl.

Three dozen lines instead of a library: the libraries carry tables of every client ever seen, to be kept up to
date, and a list of one's own sessions needs to tell a phone from a laptop. An unknown program is shown as it
called itself.
"""

import re

BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Vivaldi", "Vivaldi"),
    ("FxiOS", "Firefox"),
    ("Firefox", "Firefox"),
    ("CriOS", "Chrome"),
    ("HeadlessChrome", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
"""Tokens of browsers, the telling ones first: most of them name Chrome and Safari too."""
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "Mac"),
    ("Linux", "Linux"),
)
PROGRAMS = {
    "curl": "curl",
    "wget": "Wget",
    "python-requests": "Python (requests)",
    "python-httpx": "Python (httpx)",
    "python-urllib": "Python (urllib)",
    "go-http-client": "Go",
    "java": "Java",
    "node": "Node.js",
    "postmanruntime": "Postman",
    "insomnia": "Insomnia",
    "keyturn": "keyturn command line",
}
UNKNOWN = "Unknown client"
LONGEST = 40

_TOKEN = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)")


def device_of(user_agent: str | None) -> str:
    """Return a client in words (RFC 9110, section 10.1.5)."""
    if not user_agent:
        return UNKNOWN
    if user_agent.startswith("Mozilla/"):
        browser = next((name for token, name in BROWSERS if f"{token}/" in user_agent), "A browser")
        if "EdgA/" in user_agent or "EdgiOS/" in user_agent:
            browser = "Edge"
        system = next((name for token, name in SYSTEMS if token in user_agent), None)
        return browser if system is None else f"{browser} on {system}"
    found = _TOKEN.match(user_agent)
    if found is None:
        return UNKNOWN
    return PROGRAMS.get(found[1].lower(), found[1][:LONGEST])
