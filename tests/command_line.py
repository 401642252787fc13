"""The command line as people and programs call it, and what may be expected of every answer."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kmstream.cli import app

KMSTREAM = str(Path(sys.executable).with_name("kmstream"))
BLOBS = {
    "name": "blobs",
    "dataset": {"path": "data"},
    "features": {"numeric": ["x", "y"]},
    "model": {"n_clusters": 3, "sample_rows": 2000, "n_init": 3},
    "engine": {"workers": 2},
}


def config_content(**sections: Any) -> dict[str, Any]:
    """What a kmstream.toml about x and y of data/ holds: three segments in out/, unless a section says otherwise."""
    content: dict[str, Any] = {**BLOBS}
    for name, section in sections.items():
        content[name] = content.get(name, {}) | section if isinstance(section, dict) else section
    return content


def config_text(**sections: Any) -> str:
    """The same as TOML, a dotted key in every line."""
    content = config_content(**sections)
    lines = {name: value for name, value in content.items() if not isinstance(value, dict)} | {
        f"{name}.{key}": value
        for name, section in content.items()
        if isinstance(section, dict)
        for key, value in section.items()
    }
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def run_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KMSTREAM, *arguments], capture_output=True, text=True, check=False, timeout=120, **options)


def answer(*arguments: str, code: int = 0) -> dict:
    """What `--json` prints: exactly one object, and nothing on stderr."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    assert result.stderr == ""
    return json.loads(result.stdout, parse_constant=pytest.fail)


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with the hash of what it holds; the lock file is no output."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def assert_fails(result: Result | subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    """A failure says what, where and what to do in two to four lines on stderr, and nothing on stdout."""
    observed = result.exit_code if isinstance(result, Result) else result.returncode
    assert observed == code, result.stderr
    assert result.stdout == ""
    assert 2 <= len(result.stderr.splitlines()) <= 4, result.stderr
    for text in texts:
        assert text in result.stderr


def assert_readable(text: str) -> None:
    """Plain text: no colour codes, no blanks at line ends, nothing wider than a terminal but paths and reasons."""
    assert "\x1b" not in text
    for line in text.splitlines():
        assert line == line.rstrip()
        assert len(line) <= 80 or "/" in line or line.startswith("  "), line
