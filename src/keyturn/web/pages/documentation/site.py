"""The documentation as this server serves it: under the reader's address, with the operator's links."""

import re
import unicodedata
from functools import cache, cached_property
from urllib.parse import unquote

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from keyturn.documentation.answers import DocumentationAnswer, answer
from keyturn.documentation.library import DocumentationMissing, Library, Page, built_file
from keyturn.documentation.places import HOST_PLACE, REPOSITORY_PLACE
from keyturn.documentation.search import MAX_QUESTION_CHARACTERS, Search
from keyturn.errors import CannotStart, InvalidInput, RateLimit
from keyturn.settings import Settings
from keyturn.system import System
from keyturn.verifying.rate_limit import RateLimiter
from keyturn.web.pages.documentation.operations import Domain
from keyturn.web.requests import AnyRequest

QUESTIONS_PER_MINUTE = 240
"""From one address, to one process: search as one types asks a few times a second."""
TOO_MANY = "Too many questions were asked from your address. Wait {wait}."
BRANCH = "main"

_TOKEN = re.compile(r"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*")
_BASIC = re.compile(r"\bBasic\s+[A-Za-z0-9+/_-]{12,}", re.IGNORECASE)
_REPOSITORY_LINK = re.compile(rf'<a href="{re.escape(REPOSITORY_PLACE)}[^"]*">(.*?)</a>', re.DOTALL)
_REPOSITORY_MARKDOWN_LINK = re.compile(rf"\[([^\]]*)\]\({re.escape(REPOSITORY_PLACE)}[^)]*\)")


@cache
def built_library() -> Library:
    """Return the library that came with the package, opened once."""
    return Library(built_file())


class Site:
    """The library with what the settings say, and the limit of questions."""

    def __init__(self, library: Library, settings: Settings, system: System) -> None:
        self.library = library
        self.search = Search(library)
        self.limit = RateLimiter(QUESTIONS_PER_MINUTE, system, refusal=TOO_MANY, limit=RateLimit.QUESTIONS)
        self.repository_url = settings.repository_url
        self.domains: tuple[Domain, ...] = ()
        """Those of the API, once somebody looked at them."""
        self._public_url = settings.public_url.rstrip("/")
        self._key = re.compile(rf"{re.escape(settings.key_prefix)}_[0-9A-Za-z_]{{12,}}")

    def host_of(self, request: AnyRequest) -> str:
        """Return the address under which the reader sees this server."""
        scheme, _, known = self._public_url.partition("://")
        host = request.headers.get("host", known)
        return f"{scheme}://{host}" if host else self._public_url

    def html(self, stored: str, host: str) -> str:
        """Return stored HTML as it is shown."""
        if not self.repository_url:
            stored = _REPOSITORY_LINK.sub(r"\1", stored)
        return self._placed(stored, host)

    def markdown(self, stored: str, host: str) -> str:
        """Return stored Markdown as it is sent."""
        if not self.repository_url:
            stored = _REPOSITORY_MARKDOWN_LINK.sub(r"\1", stored)
        return self._placed(stored, host)

    def _placed(self, stored: str, host: str) -> str:
        return stored.replace(REPOSITORY_PLACE, f"{self.repository_url}/blob/{BRANCH}").replace(
            HOST_PLACE, host
        )

    def whole_page(self, page: Page, host: str) -> str:
        """Return a page as Markdown, with where it belongs before it and how to ask after it."""
        address = f"{host}{page.entry.markdown_address}"
        return (
            f"> The index of this documentation is {host}/llms.txt. Add `.md` to the address of a page for "
            f"its Markdown.\n\n{self.markdown(page.markdown, host).strip()}\n\n---\n\n"
            f"To ask this documentation a question, send `GET {address}?ask=QUESTION`, with `&goal=GOAL` to "
            "say what you want to reach in the end.\n"
        )

    @cached_property
    def all_pages(self) -> str:
        """The Markdown of all pages, as it is stored."""
        pages = [self.library.page(entry.path) for entry in self.library.contents]
        return "\n\n---\n\n".join(
            f"Source: {HOST_PLACE}{one.entry.address}\n\n{one.markdown.strip()}" for one in pages if one
        )

    def edit_address(self, page: Page) -> str | None:
        """Return where a page can be changed; None if no setting names the repository."""
        return f"{self.repository_url}/edit/{BRANCH}/docs/{page.entry.file}" if self.repository_url else None

    def ask(self, question: str, address: str | None, *, goal: str | None = None) -> DocumentationAnswer:
        """Return the answer to a question.

        Raise `InvalidInput` for one that is too long or holds a credential, and `TooManyFailures` if too many
        came from this address.
        """
        self.limit.note(address)
        asked = " ".join(question.split())
        if not 0 < len(asked) <= MAX_QUESTION_CHARACTERS:
            raise InvalidInput("ask", f"A question has 1 to {MAX_QUESTION_CHARACTERS} characters.")
        if goal is not None and len(goal) > MAX_QUESTION_CHARACTERS:
            raise InvalidInput("goal", f"A goal has at most {MAX_QUESTION_CHARACTERS} characters.")
        if self._has_credential(f"{asked} {goal or ''}"):
            raise InvalidInput(
                "ask",
                "Your question holds what looks like an API key or a token. It was neither stored nor logged "
                "here, but addresses are kept elsewhere: revoke that credential, then ask again without it. "
                "See /docs/howto/when-a-key-leaks.",
            )
        return answer(self.library, self.search, asked)

    def _has_credential(self, text: str) -> bool:
        """Return whether a text holds what could be a credential, however it is written."""
        plain = unicodedata.normalize("NFKC", unquote(unquote(text)))
        plain = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
        return any(pattern.search(plain) for pattern in (self._key, _TOKEN, _BASIC))


def site_of(settings: Settings, system: System) -> Site | None:
    """Return the documentation; None if it is switched off. Raise `CannotStart` if it was not built."""
    if not settings.documentation:
        return None
    try:
        return Site(built_library(), settings, system)
    except DocumentationMissing as error:
        raise CannotStart(
            f"The documentation cannot be read: {error} To serve without it, set KEYTURN_DOCUMENTATION=false."
        ) from error


InjectedSite = NamedDependency[SkipValidation[Site]]
