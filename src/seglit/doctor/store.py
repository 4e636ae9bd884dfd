"""Facts that were found once, kept by the content of the file."""

import json
import sqlite3
import warnings
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from seglit.doctor.headers import Header
from seglit.doctor.image_facts import ImageFacts
from seglit.doctor.mask_facts import MaskFacts

VERSION = 1
"""Raise it when facts change, so that older ones are not taken for newer ones."""
KEPT_EVERY = 256
"""Facts that a run that is killed may lose."""
Facts = ImageFacts | MaskFacts


class Store:
    """A file of facts by key, for several threads. One that cannot be used is done without, with a warning.

    Args:
        path: Of the file; its folder is made if needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = Lock()
        self.connection: sqlite3.Connection | None = None
        self.waiting: list[tuple[str, str]] = []

    def __enter__(self) -> "Store":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Threads take turns by the lock.
            self.connection = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
            self.connection.execute("create table if not exists facts (key text primary key, facts text not null)")
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
        return self

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self._write()
        self._close()

    def get(self, key: str) -> Facts | None:
        """The facts of a key, if there are any."""
        with self.lock:
            if self.connection is None:
                return None
            try:
                row = self.connection.execute("select facts from facts where key = ?", (key,)).fetchone()
            except sqlite3.Error as error:
                self._give_up(error)
                return None
        return None if row is None else from_text(row[0])

    def put(self, key: str, facts: Facts) -> None:
        """Keep facts under a key."""
        with self.lock:
            self.waiting.append((key, json.dumps(asdict(facts))))
            if len(self.waiting) >= KEPT_EVERY:
                self._write()

    def _write(self) -> None:
        # All at once, so that another process never waits for the reading of files.
        if self.connection is not None:
            try:
                self.connection.executemany("insert or replace into facts values (?, ?)", self.waiting)
                self.connection.commit()
            except sqlite3.Error as error:
                self._give_up(error)
        self.waiting.clear()

    def _give_up(self, error: Exception) -> None:
        self._close()
        warnings.warn(
            f"{self.path}: what is found cannot be kept there ({error}), so each run reads all files anew; "
            "delete the file, or set XDG_CACHE_HOME to a folder that can be written",
            stacklevel=3,
        )

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def from_text(text: str) -> Facts:
    """The facts in a JSON text as `Store` writes it."""
    content: dict[str, Any] = json.loads(text)
    content["header"] = Header(**content["header"])
    if "look" in content:
        return ImageFacts(**content | {name: tuple(content[name]) for name in ("mean", "std")})
    for name in ("values", "unknown", "pixels", "areas", "sides"):
        content[name] = {int(key): value for key, value in content[name].items()}
    for name in ("areas", "sides"):
        content[name] = {
            label: {int(power): count for power, count in bins.items()} for label, bins in content[name].items()
        }
    content["unknown"] = {value: tuple(pixel) for value, pixel in content["unknown"].items()}
    content["colours"] = tuple(map(tuple, content["colours"]))
    return MaskFacts(**content)
