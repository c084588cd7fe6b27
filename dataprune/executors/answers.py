"""What a worker answers: whether it built the result or what was raised, and what was logged meanwhile."""

import contextlib
import logging
import os
import pickle
from collections.abc import Iterator
from typing import Any

from dataprune.executors.building import Message, build
from dataprune.processes import LostWorker

log = logging.getLogger(__name__)

Answer = tuple[str, Any, list[logging.LogRecord]]


class LostSlot(LostWorker):
    """A worker has gone while it built a result, not by an error of the stage: it may be tried elsewhere."""


class Records(logging.Handler):
    """What is logged while a result is built, for its job's log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the words, without what may not travel."""
        plain = {name: getattr(record, name) for name in ("name", "levelno", "levelname", "created")}
        self.kept.append(logging.makeLogRecord(plain | {"msg": record.getMessage()}))


def answer_to(message: Message) -> Answer:
    """In a worker: build a result. Return ("built", whether it was built here) or ("raised", the error), and the log.

    message["environment"], if it is there, is this process's while it builds.
    """
    root, records = logging.getLogger(), Records()
    root.setLevel(min(root.level or logging.INFO, logging.INFO))
    root.addHandler(records)
    try:
        with _environment(message.get("environment", {})):
            return "built", build(message), records.kept
    except Exception as error:
        log.exception("%s has failed", message["task"]["label"])
        return "raised", _portable(error), records.kept
    finally:
        root.removeHandler(records)


def taken(answer: Answer) -> bool:
    """In the driver: log what the worker has logged; return whether it built the result, or raise what it raised."""
    kind, value, records = answer
    for record in records:
        logging.getLogger(record.name).handle(record)
    if kind == "raised":
        raise value
    return value


def _portable(error: Exception) -> Exception:
    """The error, or its words where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a user's exception does when it is pickled
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The environment with other values: of the devices of a stage that takes several slots."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
