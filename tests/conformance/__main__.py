"""`make conformance`: Autobahn's fuzzing client against `echo`, all cases but those of compression (12 and 13).

It runs on CPython 2.7 alone: in `PYTHON27`, as `python2.7`, or one of pyenv's; where there is none this says so, and
tests nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / ".tools/autobahn"
GOOD: Final = {"OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"}


def main() -> int:
    """The exit code: 1 where a case fails."""
    python = next(filter(is_python27, candidates()), None)
    if python is None:
        sys.stdout.write("no CPython 2.7 here (PYTHON27, or python2.7 on the PATH): NOT tested" + "\n")
        return 0
    wstest = TOOLS / "2/bin/wstest"
    if not wstest.exists():
        install(python)
    with tempfile.TemporaryDirectory() as folder:
        return told(run(wstest, Path(folder)))


def candidates() -> Iterator[str]:
    """Where a CPython 2.7 may be."""
    yield from filter(None, (os.environ.get("PYTHON27"), shutil.which("python2.7")))
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    yield from map(str, sorted(pyenv.glob("versions/2.7.*/bin/python2.7")))


def is_python27(path: str) -> bool:
    """Whether it runs: pyenv puts a `python2.7` on the PATH that may not."""
    code = "import platform; print(platform.python_implementation() + platform.python_version())"
    try:
        said = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return said.stdout.startswith("CPython2.7.")


def install(python: str) -> None:
    """Put the suite below .tools; the last virtualenv that knows 2.7 makes its place."""
    venv.create(TOOLS / "3", with_pip=True, clear=True)
    pip = [str(TOOLS / "3/bin/python"), "-m", "pip", "-q", "install", "virtualenv<20.22"]
    made = [str(TOOLS / "3/bin/virtualenv"), "-q", "-p", python, str(TOOLS / "2")]
    suite = [str(TOOLS / "2/bin/pip"), "-q", "install", "autobahntestsuite==0.8.2"]
    for command in (pip, made, suite):
        subprocess.run(command, check=True)


def run(wstest: Path, folder: Path) -> dict[str, Any]:
    """Each case, and how it behaved."""
    command = [sys.executable, "-m", "tests.conformance.echo"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        spec = {
            "outdir": str(folder / "reports"),
            "servers": [{"agent": "gateway", "url": f"ws://127.0.0.1:{port}"}],
            "cases": ["*"],
            "exclude-cases": ["12.*", "13.*"],
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        subprocess.run([wstest, "-m", "fuzzingclient", "-s", folder / "spec.json"], check=True, cwd=folder)
        server.stdin.close()
    found: dict[str, Any] = json.loads((folder / "reports/index.json").read_text())["gateway"]
    return found


def told(cases: dict[str, Any]) -> int:
    """Print what failed; the exit code."""
    bad = {
        name: (case["behavior"], case["behaviorClose"])
        for name, case in cases.items()
        if not {case["behavior"], case["behaviorClose"]} <= GOOD
    }
    for name, how in sorted(bad.items()):
        sys.stdout.write(f"{name}: {how[0]}, close {how[1]}" + "\n")
    sys.stdout.write(f"{len(cases)} cases, {len(bad)} failed" + "\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
