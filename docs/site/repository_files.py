"""For the site: files of the repository that pages link to, outside of docs/, are copied into it.

A page links to them as a reader of the repository needs it (``../deploy/prometheus/rules.yml``); on the site the same file is
at ``files/deploy/prometheus/rules.yml``.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(\]\()(\.\./[^)#]+)((?:#[^)]*)?\))")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ at the copies, which are added to the site's files."""
    folder = posixpath.dirname(page.file.src_uri)

    def pointed(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if place.startswith("docs/") or not (_ROOT / place).is_file():
            return link[0]  # another page, or a link that the strict build refuses
        copy = f"files/{place}.txt" if place.endswith(".md") else f"files/{place}"
        if files.get_file_from_path(copy) is None:
            files.append(File.generated(config, copy, abs_src_path=str(_ROOT / place)))
        return link[1] + posixpath.relpath(copy, folder or ".") + link[3]

    return _LINK.sub(pointed, markdown)
