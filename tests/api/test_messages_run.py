"""Messages, failures and rules of RunTask and StartTask; the table is messages_run.py."""
import pytest

import messages
import messages_run
from task_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_run.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
