"""A Dockerfile as data: its stages and their instructions."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from string import Template
from typing import NamedTuple

from dockerfile_parse import DockerfileParser
from dockerfile_parse.parser import image_from


class Instruction(NamedTuple):
    """One instruction, its continued lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form, or of its shell form."""
        text = self.text[self.text.index("[") :] if self.name == "HEALTHCHECK" else self.text
        if self.name == "HEALTHCHECK" or text.startswith("["):
            return [str(word) for word in json.loads(text)]
        return shlex.split(text)


class Stage(NamedTuple):
    """A FROM and the instructions after it."""

    image: str
    name: str
    instructions: list[Instruction]

    def all(self, name: str) -> list[Instruction]:
        """The instructions with this name, in order."""
        return [instruction for instruction in self.instructions if instruction.name == name]

    def the(self, name: str) -> Instruction:
        """The only instruction with this name."""
        (one,) = self.all(name)
        return one


def stages(file: Path) -> list[Stage]:
    """The stages of a Dockerfile, in order; in FROM, build arguments have their default values."""
    found: list[Stage] = []
    defaults: dict[str, str] = {}
    for entry in DockerfileParser(str(file)).structure:
        name, text = entry["instruction"], entry["value"].strip()
        if name == "FROM":
            image, alias = image_from(Template(text).substitute(defaults))
            found.append(Stage(image or "", alias or "", []))
        elif name == "ARG" and not found:
            key, _, default = text.partition("=")
            defaults[key] = default
        elif name != "COMMENT":
            found[-1].instructions.append(Instruction(name, text))
    return found
