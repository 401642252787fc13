"""What those who carry on rely on: CONTRIBUTING.md, the workflow of a public host, hooks before a commit, mutation."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from test_layers import LAYERS

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = ROOT / ".github" / "workflows" / "checks.yml"
JOBS = yaml.safe_load(WORKFLOW.read_text())["jobs"]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def list_calls_of_make(text: str) -> set[str]:
    return {target for call in re.findall(r"`make ([a-z -]+)", text) for target in call.split()}


def test_every_target_of_make_that_a_page_names_is_there():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        assert list_calls_of_make(page.read_text()) <= TARGETS, page


def test_contributing_names_every_target_that_checks_something():
    assert list_calls_of_make((ROOT / "CONTRIBUTING.md").read_text()) >= TARGETS - {"help", "clean"}


def test_functions_and_names_of_the_steps_are_where_contributing_says():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    pairs = re.findall(
        r"`([\w.]+)` (?:and `([\w.]+)` |or `([\w.]+)` |of\n?\s*`([\w.]+)` )?in\n?\s*`(kmstream/[\w/]+\.py)`", text
    )
    assert len(pairs) > 10
    for *names, path in pairs:
        for name in filter(None, names):
            assert re.search(rf"\b{name.rpartition('.')[2]}\b", (ROOT / path).read_text()), f"{name} in {path}"


def test_workflow_is_one_that_its_host_takes():
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [checker, "--builtin-schema", "vendor.github-workflows", WORKFLOW]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflow_tests_every_python_that_the_package_names():
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PYPROJECT["project"]["classifiers"]))
    matrix = JOBS["checks"]["strategy"]["matrix"]
    assert (matrix["target"], matrix["python"]) == (["test"], named)
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert matrix["include"] == [{"target": target, "python": oldest} for target in ("lint", "test-lowest")]


def test_workflow_runs_targets_of_make_and_may_only_read():
    assert yaml.safe_load(WORKFLOW.read_text())["permissions"] == {"contents": "read"}
    assert [step["run"] for step in JOBS["checks"]["steps"] if "run" in step] == ["make ${{ matrix.target }}"]
    assert {"test", "lint", "test-lowest"} <= TARGETS
    assert "secrets." not in WORKFLOW.read_text()


def test_hooks_call_the_locked_tools_and_scripts_that_exist():
    (local,) = HOOKS
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        for word in hook["entry"].split():
            assert not word.startswith(".venv/bin/") or Path(sys.executable).with_name(Path(word).name).exists(), word
            assert not word.endswith(".py") or (ROOT / word).exists(), word


def test_mutation_covers_layer_1_with_its_tests():
    settings = PYPROJECT["tool"]["mutmut"]
    rooms = {re.fullmatch(r"kmstream/(\w+)(\.py|/\*)", pattern)[1] for pattern in settings["only_mutate"]}
    assert rooms == LAYERS[1]
    assert all((ROOT / pattern.removesuffix("/*")).exists() for pattern in settings["only_mutate"])
    of_rooms = {path for room in LAYERS[1] for path in (ROOT / "tests").glob(f"test_{room}*.py")}
    others = {
        path for room in set().union(*LAYERS.values()) - LAYERS[1] for path in of_rooms if path.stem == f"test_{room}"
    }
    chosen = {ROOT / path for path in settings["pytest_add_cli_args_test_selection"]}
    assert chosen == of_rooms - others
