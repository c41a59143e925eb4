"""Work that begins by itself: crawls that are due, and the end of jobs that were lost."""

import threading

import structlog

from keyturn.errors import KeyturnError
from keyturn.services.connections.jobs import Jobs

EVERY_SECONDS = 60

_log = structlog.get_logger()


class Schedule:
    """Looks once a minute. Several processes may: the row of a job lets one of them do it."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keyturn-schedule", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and end the jobs of this process."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._jobs.close()

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_SECONDS):
            try:
                self._jobs.expire_lost()
                self._jobs.crawl_due()
                self._jobs.prune()
            except KeyturnError as error:
                _log.warning("schedule_failed", reason=str(error))
