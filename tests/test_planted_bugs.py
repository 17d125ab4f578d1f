from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from planted_bugs import BUGS, Bug, Unsound, _judge, _planted

from rlbench.objectives import registry
from rlbench.objectives.reduction import reduce_values

SCRIPT = Path(__file__).parent / "planted_bugs.py"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.judged[0]}: {bug.what}")
def test_the_snippet_of_a_bug_is_in_the_source_once_and_the_edit_is_python(bug: Bug) -> None:
    ast.parse(bug.text())


@pytest.mark.parametrize("old", ["no such line", "batch"])
def test_a_snippet_that_is_not_there_exactly_once_is_an_error_of_the_script(old: str) -> None:
    with pytest.raises(Unsound, match="has to be there once"):
        Bug("?", "objectives/sft.py", old, "x", ("sft",)).text()


def test_an_edit_that_does_not_run_is_an_error_of_the_script_and_not_a_catch() -> None:
    bug = Bug("?", "objectives/sft.py", "-batch.logp", "-nobody.knows", ("sft",))
    with pytest.raises(Unsound, match="does not run"):
        _judge(bug, bug.text())


def test_an_edit_that_changes_no_number_is_caught_by_nothing() -> None:
    bug = Bug("?", "objectives/sft.py", "return -batch.logp", "return 0 - batch.logp", ("sft",))
    assert not any(_judge(bug, bug.text()).values())


def test_engine_code_is_itself_again_after_a_bug() -> None:
    before = reduce_values.__code__
    bug = next(bug for bug in BUGS if bug.file == "objectives/reduction.py" and "values" in bug.old)
    with _planted(bug, bug.text()):
        assert reduce_values.__code__ is not before
    assert reduce_values.__code__ is before


def test_bugs_are_planted_in_every_objective_file_and_estimator() -> None:
    catalogue = registry.describe()
    assert {d.path.name for d in catalogue.objectives.values()} <= {Path(bug.file).name for bug in BUGS}
    assert set(catalogue.advantages) <= {name for bug in BUGS for name in bug.judged}


@pytest.mark.slow
def test_every_planted_bug_is_caught() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--json"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["caught"] == result["planted"] >= 20
