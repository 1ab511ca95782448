"""All that decides an image's content, as keys: the same key is the same image, and is not made twice. Pure but for
reading elements, payloads and the archives' state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagecheck.build import archive, elements, payload
from imagecheck.build.layers import Layer, layers, payload_location
from imagecheck.definition import Definition
from imagecheck.imagefile import sha256
from imagecheck.manifest import SCHEMA


@dataclass(frozen=True)
class Recipe:
    """The disk-image-create calls of a definition (none where another tool builds it) and a key for each.

    The last key is the image's. ``archives``: suite -> state; ``payload``: the licensed database, if there is one.
    """

    definition: Definition
    layers: tuple[Layer, ...]
    keys: tuple[str, ...]
    archives: Mapping[str, str]
    payload: payload.Payload | None = None

    @property
    def key(self) -> str:
        """The image's."""
        return self.keys[-1]


def recipe(definition: Definition, *, fetch: bool = True) -> Recipe:
    """The recipe of ``definition``; element trees of other projects are fetched when ``fetch``.

    Raises UsageError: elements that are nowhere or do not fit, a payload that is missing or broken.
    """
    if definition.builder == "command":
        return Recipe(definition, (), (_command_key(definition),), {})
    made = tuple(layers(definition, fetch=fetch))
    located = payload_location(made)
    carried = payload.check(located, where=payload.VARIABLE) if located else None
    if carried is not None:
        last = made[-1]
        named = {**last.environment, payload.VARIABLE: str(Path(located).expanduser().absolute())}
        made = (*made[:-1], dataclasses.replace(last, environment=named))
    archives = archive.state(definition, made[-1].resolved)
    keys: list[str] = []
    for layer in made:
        last_one = layer is made[-1]
        decides = [
            SCHEMA,
            keys[-1:],
            definition.os,
            definition.release,
            layer.kind,
            layer.names,
            {name: text for name, text in layer.environment.items() if name != payload.VARIABLE},
            elements.dib_version(),
            elements.digests(layer.resolved),
            archives if last_one else archives.get(definition.release, ""),
        ]
        if last_one:
            decides += [list(carried.digests) if carried else [], _archive_digest(definition)]
        keys.append(elements.key(decides))
    return Recipe(definition, made, tuple(keys), archives, carried)


def _archive_digest(definition: Definition) -> str:
    return sha256(Path(definition.datastore.archive)) if definition.datastore.archive else ""


def _command_key(definition: Definition) -> str:
    """What the command does is its own affair; known are its words, its environment and its program."""
    program = Path(definition.command[0])
    digest = sha256(program) if program.is_absolute() and program.is_file() else ""
    return elements.key([SCHEMA, definition.command, digest, dict(definition.environment), definition.release])
