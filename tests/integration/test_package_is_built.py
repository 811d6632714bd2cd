"""What is built can be installed: an sdist, a wheel made from it, and the command that the wheel brings.

Offline: the hooks of PEP 517 are called directly, and nothing is asked of an index.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import rainzmq
from rainzmq.server.web import NEEDED

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("rainzmq", "benchmarks", "docs", "examples", "scripts", "tests")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info")


def build(hook: str, source: Path, target: Path) -> Path:
    """What one hook of setuptools builds from a directory."""
    target.mkdir(exist_ok=True)
    code = f"import sys; from setuptools import build_meta; build_meta.build_{hook}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(target)], cwd=source, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution of this tree."""
    directory = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copytree(ROOT / name, directory / name, ignore=LEFT_OUT)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, directory)
    return build("sdist", directory, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from what the sdist holds, and from nothing else."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


def test_the_sdist_holds_what_it_takes_to_test_and_to_read_it(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "README.md", "setup.cfg"}
    wanted |= {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    wanted |= {"tests/conftest.py", "scripts/test", "examples/hello.py", "benchmarks/README.md"}
    assert wanted <= names


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "rainzmq"
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert names == {str(path.relative_to(ROOT)) for path in files}


def test_the_metadata_are_complete(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().partition("\n\n")[0].splitlines()
    assert f"Version: {rainzmq.__version__}" in lines
    assert "Author: rainzmq developers" in lines
    fields = {line.partition(":")[0] for line in lines}
    assert {"Summary", "Keywords", "Requires-Python", "Classifier", "License-File"} <= fields
    assert not {"Home-page", "Project-URL", "Author-email"} & fields, "there is no such place"
    extras = {line.partition(": ")[2] for line in lines if line.startswith("Provides-Extra")}
    assert extras == {"all", "arrow", "cbor", "dashboard", "test"}
    for package in NEEDED:
        assert any(re.match(f"Requires-Dist: {package}\\b.*dashboard", line) for line in lines), package


@pytest.mark.slow
def test_the_wheel_can_be_installed_and_brings_the_command(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    # Dependencies come from where the tests run; what stands first is what was installed just now.
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def said(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        return done.stdout.decode().strip()

    assert said(str(python), "-c", "import rainzmq; print(rainzmq.__file__, rainzmq.Client.__name__)") == (
        f"{packages}/rainzmq/__init__.py Client"
    )
    assert said(str(tmp_path / "venv" / "bin" / "rainzmq"), "--version") == f"rainzmq {rainzmq.__version__}"
