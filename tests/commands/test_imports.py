"""Commands import only what they need. Modules are counted, since times depend on how busy the machine is."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stream_capi
from stream_capi.cli import COMMANDS, load

HEAVY = frozenset(
    {
        "aiohttp",
        "confluent_kafka",
        "fastavro",
        "numpy",
        "phonenumbers",
        "prometheus_client",
        "rich.progress",
    }
)
_HELP = """
import sys
sys.argv = ["stream-capi", "--help"]
from stream_capi.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
_LOAD = """
import sys
from stream_capi.cli import load
load(sys.argv[1])
print(*sys.modules, file=sys.stderr)
"""


def modules_after(script: str, *words: str) -> set[str]:
    """The names of all modules that a new interpreter has imported when ``script`` ends."""
    done = subprocess.run([sys.executable, "-c", script, *words], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


@pytest.mark.slow
def test_the_help_of_all_commands_imports_none_of_the_libraries_behind_them() -> None:
    modules = modules_after(_HELP)
    assert "stream_capi.cli" in modules
    assert not modules & HEAVY
    assert len(modules) < 500  # 409 when this was written; 1,103 if every command is imported


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("status", {"confluent_kafka"}),
        ("check", {"aiohttp", "confluent_kafka", "fastavro"}),
        ("explain", {"confluent_kafka", "fastavro"}),
        ("test", {"confluent_kafka", "fastavro", "numpy"}),
        ("send-one", {"aiohttp", "confluent_kafka", "fastavro"}),
    ],
)
def test_a_command_imports_what_it_needs(name: str, needed: set[str]) -> None:
    assert modules_after(_LOAD, name) & HEAVY == needed


_MAP = """
import sys
from stream_capi.config import Settings
from stream_capi.events.rules import rules_from
from stream_capi.events.transform import compile_source
source = {"topic": "leads", "event": "generate_lead", "pixel": "main"}
source |= {"phone_region": sys.argv[1]} if sys.argv[1:] else {}
pixel = {"name": "main", "pixel_id": "p", "api_key_env": "KEY"}
settings = Settings.model_validate({"pixels": [pixel], "sources": [source]})
compile_source(rules_from(settings.sources[0], settings), {"type": "record", "name": "R", "fields": []})
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.slow
def test_the_library_of_phone_numbers_is_imported_where_a_source_has_a_region() -> None:
    assert "phonenumbers" not in modules_after(_MAP)
    assert "phonenumbers" in modules_after(_MAP, "US")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_of_a_command_is_the_first_line_of_its_own_help(name: str) -> None:
    own = load(name).help
    assert own is not None
    assert inspect.cleandoc(own).splitlines()[0] == COMMANDS[name].summary


_THREADS = """
from stream_capi.avro.arrays import np
(np.ones((500, 500)) @ np.ones((500, 500))).sum()
print(sum(line.startswith("Threads:") and int(line.split()[1]) for line in open("/proc/self/status")))
"""


def test_numpy_starts_no_thread() -> None:
    """Whatever the environment asks for: threads of workers and containers are limited."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "4", "OMP_NUM_THREADS": "4"}
    words = [sys.executable, "-c", _THREADS]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == "1\n"


def test_numpy_is_imported_in_one_place() -> None:
    """arrays.py limits numpy's threads before it imports it."""
    package = Path(stream_capi.__file__).parent
    importing = re.compile(r"^\s*(import|from) numpy\b", re.MULTILINE)
    assert [file.name for file in package.rglob("*.py") if importing.search(file.read_text())] == ["arrays.py"]
