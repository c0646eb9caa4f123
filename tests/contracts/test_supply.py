"""S10: what is installed is pinned, none of it is a release known to be hostile, and imports do nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOSTILE = {"lightning": {"2.6.2", "2.6.3"}, "pytorch-lightning": {"2.6.2", "2.6.3"}}  # GHSA-w37p-236h-pfx3
WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.posix_spawn"):
        done.append((event, repr(arguments)))
done = []
sys.addaudithook(watch)
import dnalm, dnalm.cli, dnalm.commands.pretrain, dnalm.commands.export, dnalm.commands.fetch
import dnalm.data, dnalm.models, dnalm.training, dnalm.evaluation, dnalm.sweeps
print(done)
"""


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    assert all(len(pair) == 2 and re.fullmatch(r"[\w.!+]+", pair[1]) for pair in pairs), "each is exact"
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def test_every_dependency_is_pinned_and_none_is_known_to_be_hostile() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = [re.match(r"[\w-]+", word)[0].lower() for word in wanted]  # type: ignore[index]
    pinned = pins()
    assert [name for name in names if name not in pinned] == []
    assert [name for name, bad in HOSTILE.items() if pinned[name] in bad] == []


def test_an_import_opens_no_connection_and_starts_no_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]"
