"""What the image is made of, written at its build from what is installed there: NOTICE, and a bill of materials (CycloneDX).

``python notices.py FOLDER``, by the interpreter whose libraries it is about.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

_PROGRAM = "stream-capi"
_HEAD = """stream-capi, under the Apache License 2.0, with the Python libraries below. The text of each licence is where the
library is installed. What is under the Mozilla Public License 2.0 is not changed; its source is at the address beside it.
Some bring other libraries compiled in, as confluent-kafka does librdkafka and OpenSSL. Python and Debian's packages are
those of the base image; /usr/share/doc has their licences.
"""


def licence(found: Distribution) -> str:
    """What a distribution says of its licence: an expression, else a classifier, else a free text's first line."""
    meta = found.metadata
    classified = [line.rpartition(" :: ")[2] for line in meta.get_all("Classifier") or [] if line.startswith("License")]
    return meta["License-Expression"] or ", ".join(classified) or (meta["License"] or "not said").splitlines()[0]


def source(found: Distribution) -> str:
    """Where its source is: the address that is named so, else its home."""
    lines = [line.split(", ", 1) for line in found.metadata.get_all("Project-URL") or []]
    urls = {name.lower(): url for name, url in lines}
    named = [urls[name] for name in ("source", "source code", "repository", "github", "homepage") if name in urls]
    return str([*named, found.metadata["Home-page"] or ""][0])


def notice(installed: list[Distribution]) -> str:
    """A line for each distribution, and the files that hold its licence."""
    lines = [_HEAD]
    for found in installed:
        lines.append(f"{found.name} {found.version}: {licence(found)}  {source(found)}".rstrip())
        folder = next(file for file in found.files or [] if file.name == "METADATA").parent
        lines += [
            f"    {found.locate_file(file)}"
            for file in found.files or []
            if _is_licence(file.as_posix(), folder.as_posix())
        ]
    return "\n".join(lines) + "\n"


def _is_licence(file: str, folder: str) -> bool:
    name = file.rpartition("/")[2].upper()
    return file.startswith(folder) and name.startswith(("LICEN", "COPYING", "NOTICE", "AUTHORS"))


def bill(installed: list[Distribution]) -> dict[str, Any]:
    """The bill: the program, and what it is installed with."""
    parts = [_component(found) for found in installed]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": next(part for part in parts if part["name"] == _PROGRAM)},
        "components": [part for part in parts if part["name"] != _PROGRAM],
    }


def _component(found: Distribution) -> dict[str, Any]:
    said = found.metadata["License-Expression"]
    purl = f"pkg:pypi/{found.name.lower()}@{found.version}"
    return {
        "type": "application" if found.name == _PROGRAM else "library",
        "bom-ref": purl,
        "name": found.name,
        "version": found.version,
        "purl": purl,
        "licenses": [{"expression": said} if said else {"license": {"name": licence(found)}}],
    }


def main(folder: Path) -> None:
    """Write both."""
    installed = sorted(distributions(), key=lambda found: found.name.lower())
    folder.mkdir(parents=True)
    (folder / "NOTICE").write_text(notice(installed))
    (folder / "sbom.cdx.json").write_text(json.dumps(bill(installed), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
