"""A report's JSON read back, its own or somebody else's: a value of another type than it should have is one sentence.

What is missing or null is empty; keys that are not asked for are passed over, so that newer documents can be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imagecheck.errors import UsageError

_LARGEST = 1e15  # of bytes and seconds alike; anything larger is no measurement


class Told:
    """A value of a document, with its place in it for the sentence that says what is wrong."""

    def __init__(self, value: Any, where: str) -> None:
        self._value, self._where = value, where

    def __bool__(self) -> bool:
        """Something is there: not null, no empty table, list or text."""
        return self._value not in (None, "", [], {})

    def at(self, key: str) -> Told:
        """The value under ``key`` of a table."""
        return Told(
            self._table().get(key), f"{self._where}: {key}" if ": " not in self._where else f"{self._where}.{key}"
        )

    def text(self, key: str) -> str:
        """The text under ``key``, "" where there is none."""
        found = self.at(key)
        return "" if found._value is None else found._as_text()

    def number(self, key: str) -> float | None:
        """The number under ``key``, None where there is none."""
        found = self.at(key)
        value = found._value
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise found._wrong("a number")
        return float(value)

    def seconds(self, key: str) -> float:
        """The same, 0.0 where there is none."""
        return self.number(key) or 0.0

    def true(self, key: str) -> bool:
        """The truth value under ``key``, False where there is none."""
        found = self.at(key)
        if not (found._value is None or isinstance(found._value, bool)):
            raise found._wrong("true or false")
        return bool(found._value)

    def rows(self, key: str) -> list[Told]:
        """The items of the list under ``key``, none where there is none."""
        return self.at(key).each()

    def each(self) -> list[Told]:
        """The items of this list, none where there is none."""
        if not (self._value is None or isinstance(self._value, list | tuple)):
            raise self._wrong("a list")
        return [Told(one, f"{self._where}[{number}]") for number, one in enumerate(self._value or ())]

    def texts(self, key: str) -> list[str]:
        """The items of a list of texts."""
        return [one._as_text() for one in self.rows(key)]

    def items(self) -> Iterator[tuple[str, Told]]:
        """Keys and values of a table, in its order."""
        return ((str(key), self.at(key)) for key in self._table())

    def pairs(self, key: str) -> dict[str, str]:
        """The table of texts under ``key``."""
        return {name: one._as_text() for name, one in self.at(key).items()}

    def numbers(self, key: str) -> dict[str, float]:
        """The table of numbers under ``key``."""
        table = self.at(key)
        return {name: table.seconds(name) for name, _ in table.items()}

    def whole(self) -> str | int | None:
        """Itself: a text, a whole number, or nothing."""
        value = self._value
        if (
            isinstance(value, bool)
            or not isinstance(value, str | int | None)
            or (isinstance(value, int) and abs(value) > _LARGEST)
        ):
            raise self._wrong("a text or a whole number")
        return value

    def _table(self) -> dict[str, Any]:
        if self._value is None:
            return {}
        if not isinstance(self._value, dict):
            raise self._wrong("a table")
        return self._value

    def _as_text(self) -> str:
        if not isinstance(self._value, str):
            raise self._wrong("a text")
        return self._value

    def _wrong(self, wanted: str) -> UsageError:
        # Keys of a document are anybody's words: a line break in one must not make two sentences of this one.
        where = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in self._where[:200])
        where += "…" if len(self._where) > 200 else ""
        return UsageError(f"{where} is not {wanted}: this is no report of imagecheck, or it was edited")


def document(file: Path, schema: int) -> dict[str, Any] | None:
    """A JSON file, None where there is none. UsageError when it is no table or of another ``schema``."""
    try:
        table = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}): give the folder of a report") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise UsageError(f"{file}: is no JSON ({str(error)[:200]}): make the report again") from error
    if not isinstance(table, dict):
        raise UsageError(f"{file}: is no table: give the folder of a report of imagecheck")
    if table.get("schema") != schema:
        raise UsageError(f"{file}: schema is not {schema}: use the imagecheck that wrote it, or a newer one")
    return table


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number")
