"""Points at which a test may break the program: killed, out of disk, stuck. Nothing happens unless asked.

`DNALM_FAULT=name[@rank][:hit]=action` asks for one: at the hit-th passing (1 if absent) of the point of that
name, on the process whose `RANK` is the one named, or on any. The program is then killed (`kill9`), ends
without cleaning up (`exit`), raises (`raise`), finds the disk full (`enospc`), hangs (`sleep`) or is told to
stop (`sigterm`).
"""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections import Counter

_SPEC = re.compile(r"(?P<name>[^@:=]+)(@(?P<rank>\d+))?(:(?P<hit>\d+))?=(?P<action>\w+)")
_passed: Counter[str] = Counter()


def fault(name: str) -> None:
    """Pass a point, such as `checkpoint.before_rename`.

    Raises:
        ValueError: `DNALM_FAULT` is not of the form above.
        RuntimeError, OSError: the fault that is asked for.
    """
    if spec := os.environ.get("DNALM_FAULT"):
        _break(name, spec)


def _break(name: str, spec: str) -> None:
    asked = _SPEC.fullmatch(spec)
    if asked is None:
        raise ValueError(f"DNALM_FAULT={spec} is not name[@rank][:hit]=action")
    if name != asked["name"] or asked["rank"] not in (None, os.environ.get("RANK", "0")):
        return
    _passed[name] += 1
    if _passed[name] != int(asked["hit"] or 1):
        return
    match asked["action"]:
        case "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        case "exit":
            os._exit(1)
        case "sleep":
            time.sleep(3600)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "raise":
            raise RuntimeError(f"fault {name}")
        case action:
            raise ValueError(f"DNALM_FAULT={spec}: no action is called {action}")
