"""``make release``: builds all that is published, twice, compares the builds, and runs the wheel alone under each Python."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from release import builds, chart, environments, sources
from release.sources import ROOT, Unreleasable

DIST = ROOT / "dist"


def main() -> int:
    """Write ``dist/``. Returns 0 if everything is as it must be, otherwise 1, after printing what is wrong."""
    with tempfile.TemporaryDirectory(prefix="stream-capi-release-") as folder:
        try:
            _release(Path(folder))
        except Unreleasable as error:
            print(f"no release: {error}", file=sys.stderr)
            return 1
    return 0


def _release(folder: Path) -> None:
    pythons, helm = _interpreters(), chart.helm()
    one, other = (sources.export(folder / name / "sources") for name in ("one", "other"))
    version, at = sources.version(one), sources.committed_at()
    built = builds.distributions(one, folder / "one" / "dist", at)
    builds.same(built, builds.distributions(other, folder / "other" / "dist", at))
    sdist, wheel = sorted(built, key=lambda file: file.suffix == ".whl")
    builds.same([wheel], [builds.wheel_of_sdist(sdist, folder / "sdist", at)])
    objects = [
        chart.rendered(helm, copy, folder / name / "stream-capi.yaml")
        for name, copy in (("one", one), ("other", other))
    ]
    builds.same(objects[:1], objects[1:])
    print(f"stream-capi {version}: built twice and once more from the source distribution, and equal")
    built += [objects[0], chart.packed(helm, one, version, folder)]
    built.append(builds.bill_of_materials(one, folder / "sbom.cdx.json"))
    lock = one / "requirements" / "runtime.lock"
    for wanted, python in pythons.items():
        ran = environments.try_wheel(python, wheel, lock, folder / f"python{wanted}")
        print(f"Python {ran}: the wheel alone runs the demo, and nothing of it is lost")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    published = [Path(shutil.copy(file, DIST)) for file in built]
    builds.checksums(published, DIST / "SHA256SUMS")
    for file in published:
        print(f"dist/{file.name}  {builds.digest(file)}")


def _interpreters() -> dict[str, Path]:
    """The interpreters by minor version. Raises Unreleasable if a supported one is not on this machine."""
    found = {wanted: environments.interpreter(wanted) for wanted in (*environments.SUPPORTED, environments.NEXT)}
    if missing := [wanted for wanted in environments.SUPPORTED if found[wanted] is None]:
        raise Unreleasable(
            f"no Python {', '.join(missing)} on the path or among pyenv's; install it, and release again"
        )
    if found[environments.NEXT] is None:
        print(f"Python {environments.NEXT} is not on this machine: not tried")
    return {wanted: python for wanted, python in found.items() if python is not None}


if __name__ == "__main__":
    sys.exit(main())
