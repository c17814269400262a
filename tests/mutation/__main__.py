"""Mutation testing of the packages where a small fault would lose or change events: ``core`` and ``events``.

``python -m tests.mutation [--only PATH] [--sample N --seed S] [--jobs N]`` makes every mutant of every module, runs the
module's own tests against each, and lists the survivors. ``explained.toml`` lists equivalent mutants, which no test can
detect, with the reason; they are counted separately.
"""

from __future__ import annotations

import argparse
import random
import sys
import tomllib
from collections import Counter
from pathlib import Path

from tests.mutation.changes import Mutant, mutants
from tests.mutation.runner import ROOT, baseline, preload, run

# Tests of the whole pipeline in simulated time.
_LINE = [
    f"tests/pipeline/test_{subject}.py"
    for subject in ("batching", "refusals", "holding", "memory_bounds", "handover", "without_schema", "drain")
]
_TESTS = {
    "stream_capi/core/offsets.py": ["tests/core/test_offsets.py", "tests/proof/test_offsets_model.py"],
    "stream_capi/core/offset_metadata.py": [
        "tests/core/test_offset_metadata.py",
        "tests/core/test_offsets.py",
        "tests/proof/test_offsets_model.py",
    ],
    "stream_capi/core/outcomes.py": ["tests/core/test_outcomes.py", *_LINE],
    "stream_capi/core/batch.py": ["tests/core/test_batch.py", *_LINE],
    "stream_capi/core/ratio_guard.py": ["tests/core/test_ratio_guard.py", *_LINE],
    "stream_capi/core/clock.py": ["tests/core/test_clock.py", "tests/pipeline/test_clocks.py"],
    "stream_capi/core/remembered.py": ["tests/pipeline/test_remembered.py"],
    "stream_capi/core/flow.py": ["tests/core/test_flow.py", *_LINE],
}

# The closest tests of each module of ``events``. They run first and kill most mutants; only survivors meet the others.
_NEAR = {
    "mapping_check": ("mapping_check", "init"),
    "counts": ("user_data",),
    "explain": ("explain", "value_masking", "absent_paths", "profiles", "routing", "required_fields"),
    "fields": ("user_data", "required_fields", "explain", "profiles"),
    "guess": ("init",),
    "kinds": ("times", "required_fields", "user_data", "mapping_check", "paths"),
    "lines": ("value_masking", "explain"),
    "value_masking": ("value_masking", "explain"),
    "network": ("required_fields", "user_data", "profiles"),
    "paths": ("paths", "mapping_check"),
    "needed_steps": ("required_fields", "absent_paths", "times", "routing", "explain", "same_as_reference"),
    "optional_steps": ("user_data", "profiles", "explain", "same_as_reference"),
    "lane_plan": ("required_fields", "user_data", "profiles", "routing", "absent_paths"),
    "plain_json": ("plain_json",),
    "routing": ("routing", "explain"),
    "judging": ("user_data", "required_fields", "same_as_reference"),
    "taking": ("required_fields", "user_data", "absent_paths", "times", "explain"),
    "value_rules": ("user_data", "required_fields", "times", "profiles"),
    "whole": ("whole_columns", "same_as_reference", "user_data", "required_fields"),
    "work": ("user_data", "required_fields", "same_as_reference"),
    "rules": ("routing", "mapping_check", "required_fields", "profiles", "times"),
    "transform": ("routing", "times", "profiles", "user_data"),
}
_SLOW = ("test_any_record", "test_plain_json", "test_worked_cases")
_TIMED = ("test_speed",)  # it measures speed, and a slow mutant need not be wrong


def tests_of(module: str) -> list[list[str]]:
    """Groups of tests, in running order: for ``core`` the module's own; for ``events`` the closest, then all others."""
    if module in _TESTS:
        return [_TESTS[module]]
    near = [f"tests/events/test_{name}.py" for name in _NEAR.get(Path(module).stem, ())]
    files = sorted(ROOT.glob("tests/events/test_*.py"), key=lambda file: (file.stem in _SLOW, file.stem))
    others = [str(file.relative_to(ROOT)) for file in files if file.stem not in _TIMED]
    return [tests for tests in (near, [name for name in others if name not in near]) if tests]


def modules(only: str) -> list[str]:
    """The modules to mutate whose path contains ``only``."""
    paths = [*ROOT.glob("stream_capi/core/*.py"), *ROOT.glob("stream_capi/events/*.py")]
    names = sorted(str(path.relative_to(ROOT)) for path in paths if path.name != "__init__.py")
    return [name for name in names if only in name]


def explained() -> dict[tuple[str, str, str], str]:
    """The equivalent mutants: the reason, by path, source line and change."""
    with (Path(__file__).parent / "explained.toml").open("rb") as file:
        entries = tomllib.load(file).get("mutant", [])
    return {(entry["path"], entry["line"], change): entry["why"] for entry in entries for change in entry["changes"]}


def main() -> int:
    """Run, and print each module's score and survivors. Return 1 if a mutant survived that isn't explained."""
    options = _options()
    preload()
    known = explained()
    ends: Counter[str] = Counter()
    for module in modules(options.only):
        found = mutants(module, (ROOT / module).read_text(encoding="utf-8"))
        if options.sample and options.sample < len(found):
            found = random.Random(options.seed).sample(found, options.sample)
        ends += _one(module, found, options.jobs, known)
    _print("all of them", ends)
    return 1 if ends["survived"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--only", default="", metavar="PATH", help="only modules whose path contains this")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only N mutants of each module")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the sample")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="mutants tested at once")
    return parser.parse_args()


def _one(module: str, found: list[Mutant], jobs: int, known: dict[tuple[str, str, str], str]) -> Counter[str]:
    ends: Counter[str] = Counter()
    left = [mutant for mutant in found if (module, mutant.text, mutant.change) not in known]
    ends["explained"] = len(found) - len(left)
    for tests in tests_of(module):
        met, left = left, []
        for mutant, end in run(met, tests, jobs, 10 + 5 * baseline(tests)):
            if end == "survived":
                left.append(mutant)
            else:
                ends[end] += 1
    ends["survived"] = len(left)
    for mutant in left:
        _say(f"survived {mutant}")
    _print(module, ends)
    return ends


def _print(what: str, ends: Counter[str]) -> None:
    total, noticed = ends.total() - ends["explained"], ends["killed"] + ends["timeout"]
    score = 100 * noticed / total if total else 100.0
    by_time, apart = ends["timeout"], ends["explained"]
    _say(f"{what}: {score:.1f}% of {total} noticed ({by_time} by time), {apart} explained")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
