"""The commands that look or go back in time: what each takes, and its help."""

from typing import Annotated

import typer

from gateway.server.cli.options import Json, Token, Url, part

WorkflowId = Annotated[str, typer.Argument(metavar="ID", help="The workflow's id.")]


def explain(
    named: Annotated[str, typer.Argument(metavar="ID", help="A task's id, or a session's.")],
    *,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Tell where a task's time went.

    One line for each thing that it did, with when it began and how long it took: queued for a place, starting
    its sandbox, working, paused or waiting for an answer, by whom and why, each attempt, and its end; then the
    sums. Of a session: each of its tasks.
    """
    does = part("cli.explain")
    raise typer.Exit(does.explain(does.door(url, token), named, as_json=as_json))


def workflows(
    workflow_id: Annotated[
        str | None,
        typer.Argument(metavar="WORKFLOW_ID", show_default=False, help="Show this one whole, as JSON."),
    ] = None,
    *,
    status: Annotated[
        str | None,
        typer.Option(show_default=False, help="Only active, paused, completed, failed or cancelled ones."),
    ] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List your workflows, newest first, or show one.

    A line has its id, status, step and last change, and what its first task does. Every task belongs to a
    workflow, which outlives it: its checkpoints are what `gateway recover` goes back to.
    """
    does = part("cli.workflows")
    door = does.door(url, token)
    if workflow_id is not None:
        raise typer.Exit(does.show(door, workflow_id))
    raise typer.Exit(does.workflows(door, status, as_json=as_json))


def checkpoints(
    workflow_id: WorkflowId, *, url: Url = None, token: Token = None, as_json: Json = False
) -> None:
    """List a workflow's checkpoints, oldest first.

    A line has its id, when it was made, the agent that made it, and its step. With --json its data is there, too,
    up to 16 KiB.
    """
    does = part("cli.workflows")
    raise typer.Exit(does.checkpoints(does.door(url, token), workflow_id, as_json=as_json))


def recover(
    workflow_id: WorkflowId,
    *,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="ID", show_default=False, help="Go back to this one, of `gateway checkpoints`."),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="Go back to the newest checkpoint of this step."
        ),
    ] = None,
    fork: Annotated[
        bool, typer.Option("--fork", help="Go on in a copy; the workflow stays as it is.")
    ] = False,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", show_default=False, help="Merged over the checkpoint's data (RFC 7396)."
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Go on from a checkpoint, the newest if none is named.

    It prints the id of the task that does it, which `gateway watch` follows. What was finished by then is not done
    again.
    """
    does = part("cli.workflows")
    wanted = {"workflow_id": workflow_id, "checkpoint_id": checkpoint, "target_step": step, "fork": fork}
    raise typer.Exit(does.recover(does.door(url, token), wanted, state, as_json=as_json))
