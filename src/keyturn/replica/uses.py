"""Sends back when keys were used, so that "last used" is true wherever they are used."""

from collections.abc import Mapping

import httpx
import msgspec

from keyturn.core import feed
from keyturn.core.records import KeyUsage, LastUse
from keyturn.core.times import in_milliseconds
from keyturn.errors import StoreUnavailable
from keyturn.replica.packing import slices


class SendsUses:
    """Report the uses that `Usage` noted far from the database, at most once a minute for each key.

    A report is of the last use and a number. An older server takes no more, so refusals stay untold, and who
    else used a key.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
        """Send when keys were last used, and how often; raise `StoreUnavailable` if it is not taken."""
        reports = [
            _report(key_id, usage.last, usage.uses)
            for key_id, usage in uses.items()
            if usage.last is not None
        ]
        for some in slices(reports, feed.MAX_USES_AT_ONCE):
            body = msgspec.json.encode({"uses": some})
            try:
                answer = self._http.post(
                    feed.USES_PATH, content=body, headers={"Content-Type": "application/json"}
                )
            except httpx.HTTPError as error:
                raise StoreUnavailable(type(error).__name__) from None
            if not answer.is_success:
                raise StoreUnavailable(f"the Keyturn server answers {answer.status_code} to a report of uses")


def _report(key_id: int, last: LastUse, uses: int) -> feed.KeyUseReport:
    return feed.KeyUseReport(
        key_id=key_id,
        at=in_milliseconds(last.at),
        uses=uses,
        address=_shortened(last.address),
        via=_shortened(last.via),
        agent=_shortened(last.agent),
    )


def _shortened(text: str | None) -> str | None:
    return None if text is None else text[: feed.MAX_USE_CHARACTERS]
