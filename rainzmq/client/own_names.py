"""Names that a user's module cannot have on a worker, as the process that would import it needs them itself.

Which these are is asked of Python: another process imports what a subworker does and tells what it has then.
That takes a tenth of a second, once, and only when a module that is to travel has the name of a library's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

from rainzmq.common.errors import RainException
from rainzmq.common.user_modules import IMPORTED_LATER, OWN_NAMES

_TIMEOUT_S = 30.0

_PROBE = """
import importlib, json, sys
sys.path += json.loads(sys.argv[1])
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
print(json.dumps({name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}))
"""


def check_unit_name(name: str, place: str) -> None:
    """RainException when the user's top-level module at `place` has a name that a subworker needs."""
    if name not in OWN_NAMES:
        return
    files = _files_of_a_subworker()
    if name in files:
        raise RainException(
            f"Module {name!r} of this program ({place}) has the name of a module that the worker's own "
            f"process uses ({files[name] or 'built into Python'}), so tasks cannot import it. Give it "
            "another name"
        )


@cache
def _files_of_a_subworker() -> dict[str, str | None]:
    """The files of the modules that a subworker imports for itself; none when that cannot be found out, for
    the worker refuses such modules as well.
    """
    names = ["rainzmq.subworker.serve", *IMPORTED_LATER]
    # Without PYTHONPATH and behind everything else, for the user's modules may be there.
    arguments = [json.dumps([entry for entry in sys.path if entry]), json.dumps(names)]
    try:
        done = subprocess.run(
            [sys.executable, "-E", "-P", "-c", _PROBE, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        files: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return {}
    return files
