"""The files that are shipped with the program: the schemas of its own input events, the API's document, and the runbook.

A wheel has them inside the package, a checkout (and an editable installation of it) beside the package.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from stream_capi.errors import ConfigurationError
from stream_capi.model import EventName

API_DOCUMENT = "applovin-conversion-api-lead-gen.yaml"
EVENT_SCHEMAS = {EventName.GENERATE_LEAD: "lead.avsc", EventName.PAGE_VIEW: "page_view.avsc"}


def read_shipped(name: str) -> str:
    """The text of one of these files. Raises ConfigurationError if the installation lacks it."""
    package = files("stream_capi")
    beside = Path(str(package)).parent
    for place in (package / "_schemas", package / "_docs", beside / "schemas", beside / "docs"):
        if (file := place / name).is_file():
            return file.read_text(encoding="utf-8")
    raise ConfigurationError([f"{name} is missing from the installation; install stream-capi again"])
