"""A Dockerfile as data: its stages, and what each of them does."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """One instruction, its continued lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form, or of a shell's."""
        text = self.text[self.text.index("[") :] if self.name == "HEALTHCHECK" else self.text
        if self.name == "HEALTHCHECK" or text.startswith("["):
            return [str(word) for word in json.loads(text)]
        return shlex.split(text)


class Stage(NamedTuple):
    """What follows a FROM."""

    image: str
    name: str
    instructions: list[Instruction]

    def all(self, name: str) -> list[Instruction]:
        """The instructions of one name, in order."""
        return [instruction for instruction in self.instructions if instruction.name == name]

    def the(self, name: str) -> Instruction:
        """The only one of its name."""
        (one,) = self.all(name)
        return one


def stages(file: Path) -> list[Stage]:
    """The stages of a Dockerfile, in order."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, text = line.strip().partition(" ")
        if name == "FROM":
            words = text.split()
            found.append(Stage(words[0], words[2] if len(words) == 3 else "", []))
        else:
            found[-1].instructions.append(Instruction(name, text.strip()))
    return found
