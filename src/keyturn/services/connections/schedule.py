"""Work that begins by itself: crawls that are due, and the end of jobs that were lost."""

import structlog

from keyturn.errors import KeyturnError
from keyturn.services.connections.jobs import Jobs

EVERY_SECONDS = 60
"""How often a server looks. It has no thread for that: the stack of one is memory that a worker reserves."""

_log = structlog.get_logger()


class Schedule:
    """Looks for what is due. Several processes may: the row of a job lets one of them do it."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def look(self) -> None:
        """Begin what is due; a failure of the database is logged, and the next look tries again."""
        try:
            self._jobs.expire_lost()
            self._jobs.crawl_due()
        except KeyturnError as error:
            _log.warning("schedule_failed", reason=str(error))
