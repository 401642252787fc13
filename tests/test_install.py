"""The installed packages fit together, the locks are complete, and the built package is the whole one."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
DEVELOPMENT = [Requirement(line) for line in PYPROJECT["dependency-groups"]["dev"] if isinstance(line, str)]
BUILD = [Requirement(line) for line in PYPROJECT["dependency-groups"]["build"]]
LOCKS = {
    "requirements.lock": DEPENDENCIES + DEVELOPMENT + BUILD,
    "requirements-runtime.lock": DEPENDENCIES + BUILD,
}


def run(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lock_problems(text: str, requirements: list[Requirement]) -> list[str]:
    """What is wrong with a lock: a host, a path, a missing hash, a requirement that it misses or breaks."""
    problems = re.findall(r"\S*://\S*|\S*file:\S*|^-.*|^.* @ .*", text, flags=re.MULTILINE)
    locked: dict[str, list[str]] = {}
    for entry in re.findall(r"^[a-z0-9].*", text.replace("\\\n", ""), flags=re.MULTILINE):
        pinned = Requirement(entry.split("--hash")[0].strip())
        locked.setdefault(canonicalize_name(pinned.name), []).append(str(pinned.specifier).removeprefix("=="))
        if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry):
            problems.append(f"{pinned.name} has no hash")
    for wanted in requirements:
        versions = locked.get(canonicalize_name(wanted.name), [])
        if not versions or not all(wanted.specifier.contains(version) for version in versions):
            problems.append(f"{wanted} is locked at {versions}")
    return problems


@pytest.mark.parametrize("wanted", DEPENDENCIES + DEVELOPMENT, ids=str)
def test_installed_version_satisfies_the_pin(wanted):
    assert wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)


def test_installed_packages_satisfy_each_other():
    installed = {canonicalize_name(one.name): one for one in metadata.distributions()}
    broken = [
        f"{name} wants {wanted}"
        for name, one in installed.items()
        for wanted in map(Requirement, one.requires or ())
        if not wanted.marker or wanted.marker.evaluate({"extra": ""})
        if not (found := installed.get(canonicalize_name(wanted.name)))
        or not wanted.specifier.contains(found.version, prereleases=True)
    ]
    assert broken == []


@pytest.mark.slow
@pytest.mark.parametrize("module", ["evidently.presets", "prefect.server.api.server", "distributed"])
def test_packages_that_broke_each_other_import(module):
    run(sys.executable, "-c", f"import {module}")


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_hashes_and_every_requirement_and_names_no_host(lock):
    assert lock_problems((ROOT / lock).read_text(), LOCKS[lock]) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rich==15.0.0\n", "rich has no hash"),
        (f"--index-url x\nrich==15.0.0 \\\n    --hash=sha256:{'0' * 64}\n", "--index-url x"),
        (
            f"rich==15.0.0 \\\n    --hash=sha256:{'0' * 64}\n    # from https://host/simple\n",
            "https://host/simple",
        ),
        (f"rich==12.0.0 \\\n    --hash=sha256:{'0' * 64}\n", "rich>=13.7 is locked at ['12.0.0']"),
        ("", "rich>=13.7 is locked at []"),
    ],
)
def test_a_bad_lock_is_found(text, complaint):
    assert complaint in lock_problems(text, [Requirement("rich>=13.7")])


def test_runtime_lock_agrees_with_the_full_lock():
    full, runtime = (set(re.findall(r"^[^#\s].*?==\S+", (ROOT / lock).read_text(), re.MULTILINE)) for lock in LOCKS)
    assert runtime < full


@pytest.mark.slow
def test_every_imported_package_is_declared():
    declared = {canonicalize_name(wanted.name) for wanted in DEPENDENCIES}
    provided_by = metadata.packages_distributions()
    for path in [*(ROOT / "kmstream").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for package in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"kmstream"}:
                distributions = {canonicalize_name(name) for name in provided_by.get(package, [package])}
                assert distributions & declared, f"{path.relative_to(ROOT)} imports {package}"


def test_help_exits_0():
    kmstream = Path(sys.executable).with_name("kmstream")
    assert "refresh" in run(str(kmstream), "--help")


@pytest.mark.slow
def test_wheel_holds_the_package_with_its_data_and_no_flows(tmp_path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "kmstream").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == package
