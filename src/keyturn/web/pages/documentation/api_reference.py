"""The reference of the HTTP API, made from the OpenAPI description, to read and to try out."""

from typing import Any

from litestar import Response
from litestar.params import FromPath

from keyturn.composition import Services
from keyturn.web.pages.documentation.operations import Domain, domains_of
from keyturn.web.pages.documentation.pages import form_of, missing
from keyturn.web.pages.documentation.site import InjectedSite, Site
from keyturn.web.pages.frame.forms import asset
from keyturn.web.pages.frame.rendering import InjectedPages
from keyturn.web.representation import Representation
from keyturn.web.requests import AnyRequest
from keyturn.web.routes import HeaderSet

CACHING = "public, max-age=300"
VALUES = {
    "userid": "ada@example.com",
    "/serviceaccount userid": "nightly-export",
    "connection_key": "123456789",
    "object_path": "123456789",
    "job_id": "0b8f7d6e-58a4-4a39-8f0e-0f6f4f1c2f55",
    "key": "department",
    "value": "finance",
}
"""They stand in the paths of examples."""
WRITTEN = {
    "authentication": "reference/http-api/tokens",
    "oauth": "reference/oauth",
    "health": "reference/http-api/health",
    "api-keys": "reference/http-api/keys",
    "system-keys": "reference/http-api/system-keys",
    "users": "reference/http-api/users",
    "attributes": "reference/http-api/attributes",
    "groups": "reference/http-api/groups",
    "projects": "reference/http-api/projects",
    "apis": "reference/http-api/apis",
    "service-accounts": "reference/http-api/service-accounts",
    "connections": "reference/http-api/connections",
    "jobs": "reference/http-api/jobs",
    "feed": "reference/feed",
}
"""The page that explains the routes of a domain."""


@asset("/docs/api", headers=HeaderSet.CONNECTING_DOCUMENT)
def api_overview(request: AnyRequest, site: InjectedSite, pages: InjectedPages) -> Response[bytes]:
    """List the domains of the API with their operations."""
    html = pages.text("documentation/api.html", site=site, domains=_domains(request, site), domain=None)
    return Representation.of(html.encode(), "text/html").answer(request, CACHING)


@asset("/docs/api/{name:str}", headers=HeaderSet.CONNECTING_DOCUMENT)
def api_domain(
    name: FromPath[str], request: AnyRequest, site: InjectedSite, pages: InjectedPages
) -> Response[Any]:
    """Show the operations of one domain."""
    domains = _domains(request, site)
    domain = next((one for one in domains if one.path == name), None)
    if domain is None:
        return missing(request, form_of(request), site, pages)
    html = pages.text(
        "documentation/api_domain.html",
        site=site,
        domains=domains,
        domain=domain,
        written=site.library.entry(WRITTEN[domain.path]),
        host=site.host_of(request),
    )
    return Representation.of(html.encode(), "text/html").answer(request, CACHING)


def _domains(request: AnyRequest, site: Site) -> tuple[Domain, ...]:
    if not site.domains:
        services: Services = request.app.state.services
        values = {**VALUES, "iamid": services.identity.built_in.iamid}
        site.domains = tuple(domains_of(request.app.openapi_schema.to_schema(), values))
    return site.domains
