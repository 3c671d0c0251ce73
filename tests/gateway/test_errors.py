"""The catalogues of errors and closes, held to the contract's tables."""

from gateway.errors import CLOSES, ERRORS, TASK_ERRORS, Close, GatewayError

BY_STATUS = {
    401: ["unauthorized"],
    403: ["forbidden"],
    404: ["task_not_found", "workflow_not_found", "checkpoint_not_found"],
    409: ["invalid_state", "idempotency_conflict"],
    410: ["invalid_cursor"],
    413: ["too_large"],
    422: ["bad_frame", "unknown_agent"],
    429: ["rate_limited"],
    500: ["internal"],
    503: ["unavailable", "overloaded"],
}
TASK_CODES = """
    command_failed timeout sandbox_lost instance_lost agent_error memory_limit resource_limit no_sandbox
    bad_input
"""


def test_errors_have_the_contracts_codes_and_statuses() -> None:
    """Every code of the contract is there with its HTTP status, and no other."""
    assert {code: kind.status for code, kind in ERRORS.items()} == {
        code: status for status, codes in BY_STATUS.items() for code in codes
    }


def test_errors_say_what_may_be_tried_again() -> None:
    """Retryable are the three that the contract calls so."""
    assert {code for code, kind in ERRORS.items() if kind.retryable} == {
        "rate_limited",
        "overloaded",
        "unavailable",
    }


def test_closes_say_who_may_come_back() -> None:
    """The close codes are the contract's; after some a client may reconnect as it is."""
    assert {int(code): CLOSES[code].reconnect for code in Close} == {
        1001: True,
        1003: False,
        1007: False,
        1009: False,
        1012: True,
        1013: True,
        4400: False,
        4401: False,
        4403: False,
        4408: True,
    }


def test_task_errors_are_the_contracts() -> None:
    """Why a task can fail."""
    assert sorted(TASK_ERRORS) == sorted(TASK_CODES.split())


def test_error_body_leaves_out_empty_details() -> None:
    """`details` is there only where there are any."""
    assert GatewayError("forbidden", "no").body() == {
        "code": "forbidden",
        "message": "no",
        "retryable": False,
    }
    assert GatewayError("invalid_state", status="failed").body()["details"] == {"status": "failed"}
