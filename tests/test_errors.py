"""The tree of errors: what its drawing says, and what every error has to be able to do."""

import builtins
import copyreg
import pickle
import re

import pytest
import tblib.pickling_support

from kmstream import errors
from kmstream.errors import HELD, InvalidFeatureError, KmstreamError

ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, KmstreamError)]
LINE = re.compile(r"^ {4}([\u2500-\u257f ]*)(\w+Error)(?: \((\w+)\))?(?: +(\d))?(?: |$)", re.MULTILINE)


def read_tree():
    """What the drawing says of each class: its bases, and the exit code or None where there is no room for it."""
    tree, above = {}, {}
    for branches, name, builtin, code in LINE.findall(errors.__doc__):
        above[len(branches)] = name
        parent = above[len(branches) - 4] if branches else "Exception"
        tree[name] = ([parent, *filter(None, [builtin])], int(code) if code else None)
    return tree


def test_the_tree_that_is_drawn_is_the_tree_of_the_classes():
    drawn = {name: bases for name, (bases, _) in read_tree().items()}
    assert drawn == {one.__name__: [base.__name__ for base in one.__bases__] for one in ERRORS}


def test_the_exit_codes_that_are_drawn_are_those_of_the_classes():
    drawn = {name: code for name, (_, code) in read_tree().items() if code is not None}
    assert len(drawn) >= len(ERRORS) - 1
    assert drawn == {one.__name__: one.exit_code for one in ERRORS if one.__name__ in drawn}
    assert HELD not in drawn.values()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_but_the_root_is_a_builtin_that_people_catch(error):
    caught = [base for base in error.__mro__ if base.__module__ == "builtins" and base not in Exception.__mro__]
    assert caught or error is KmstreamError
    assert all(getattr(builtins, base.__name__) is base for base in caught)


@pytest.fixture(params=["pickle", "tblib"])
def copier(request):
    """How errors go to other processes: by pickle alone, or with what Dask does to it in this one."""
    kept = copyreg.dispatch_table.copy()
    if request.param == "tblib":
        tblib.pickling_support.install()
    yield lambda error: pickle.loads(pickle.dumps(error))
    copyreg.dispatch_table.clear()
    copyreg.dispatch_table.update(kept)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_says_its_message_and_goes_to_another_process_whole(error, copier):
    made = error("'x' is 3; expected 2")
    made.add_note("in a.parquet")
    again = copier(made)
    assert type(again) is error
    assert (str(made), str(again)) == ("'x' is 3; expected 2", "'x' is 3; expected 2")
    assert again.__notes__ == ["in a.parquet"]


def test_an_invalid_feature_keeps_its_row_and_its_cure_in_another_process():
    made = InvalidFeatureError("feature 'x' is missing")
    made.first_row, made.cure = 7, "Clean it."
    again = pickle.loads(pickle.dumps(made))
    assert (again.first_row, again.cure) == (7, "Clean it.")
