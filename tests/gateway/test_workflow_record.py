"""What may become of a workflow's row."""

import pytest

from gateway.errors import GatewayError
from gateway.workflow_record import MAX_HISTORY, WorkflowRecord, merged, stepped, updated


def test_history_keeps_the_last_steps() -> None:
    """A loop that runs for ever does not make its row grow for ever; a step that stays is none."""
    current = "start"
    history: tuple[str, ...] = ()
    for number in range(3 * MAX_HISTORY):
        fields = stepped(current, history, f"step-{number}")
        current, history = fields["current_step"], fields["step_history"]
    assert (len(history), history[-1], current) == (MAX_HISTORY, "step-298", "step-299")
    assert stepped(current, history, current) == {}


def test_patch_merges_deep_and_takes_away() -> None:
    """Objects are merged, null takes away, the rest replaces; what was there before is left alone."""
    before = {"keep": 1, "deep": {"a": 1, "b": [1, 2]}, "gone": {"x": 1}, "text": "t"}
    patch = {"deep": {"b": [3], "c": {"d": None}}, "gone": None, "text": {"now": "object"}}
    assert merged(before, patch) == {
        "keep": 1,
        "deep": {"a": 1, "b": [3], "c": {}},
        "text": {"now": "object"},
    }
    assert before["deep"] == {"a": 1, "b": [1, 2]}


def test_metadata_is_small() -> None:
    """It is in every list: one workflow with a mebibyte of it, and its owner's list could not be shown."""
    row = WorkflowRecord(workflow_id="w", subject="alice", session_id=None, created_at=0, updated_at=0)
    large = {"x": "x" * (64 << 10)}
    assert updated(row, {"state_data": large}).fields["state_data"] == large
    with pytest.raises(GatewayError, match="metadata") as refused:
        updated(row, {"metadata": large})
    assert refused.value.code == "too_large"
