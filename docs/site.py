"""What mkdocs does beyond its own: pages and pictures of `experiments/` belong to the site.

Pages link to files of the repository by relative paths, so that they can be read there. On the site a link to
a file that is no part of it (a script, a config, a table) becomes its text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(```.*?```)|(!?)\[([^\]\n]*)\]\(([^)\s#]+)(#[^)\s]*)?\)", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures of `experiments/` to those of `docs/`."""
    for path in sorted((ROOT / "experiments").rglob("*")):
        if path.suffix in (".md", ".png"):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Point links to the site's files; of those that lead elsewhere in the repository the text stays."""
    own = page.file.src_uri
    folder = posixpath.dirname(own if own.startswith("experiments/") else f"docs/{own}")

    def of_site(link: re.Match[str]) -> str:
        fenced, picture, text, path, anchor = link.groups()
        if fenced or "://" in path:
            return link[0]
        uri = posixpath.normpath(posixpath.join(folder, path)).removeprefix("docs/")
        if files.get_file_from_path(uri) is None:
            uri = f"{uri}/README.md"
        if files.get_file_from_path(uri) is None and (ROOT / folder / path).exists():
            return text
        return f"{picture}[{text}]({posixpath.relpath(uri, posixpath.dirname(own) or '.')}{anchor or ''})"

    return _LINK.sub(of_site, markdown)
