"""Where the administration begins."""

from litestar import get
from litestar.response import Redirect

from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import visible_tabs
from keyturn.web.pages.frame.views import InjectedView


@get("/", include_in_schema=False, sync_to_thread=False)
def start(view: InjectedView) -> Redirect:
    """Lead to the first part that is for this person."""
    return see_other(visible_tabs(view.principal)[0].path)
