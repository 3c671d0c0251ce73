"""Bodies of requests about workflows, which exist by HTTP alone."""

from typing import Annotated

from pydantic import Field, StringConstraints

from gateway.frames import UUID, Json, Name, Strict, WorkflowStatus


class WorkflowBody(Strict):
    """`POST /v1/workflows`: what a workflow begins with."""

    session_id: Annotated[str, StringConstraints(pattern=rf"^{UUID}$")] | None = None
    """Where it is to be listed; `list_workflows` finds it by this, and it means nothing else."""
    initial_step: Name = "initialized"
    initial_data: Json = Field(default={})
    metadata: Json = Field(default={})


class WorkflowPatchBody(Strict):
    """`PATCH /v1/workflows/{id}`: what is changed; what is null or left out stays."""

    current_step: Name | None = None
    state_data: Json | None = None
    agent_states: dict[Name, Json | None] | None = Field(
        default=None, json_schema_extra={"additionalProperties": False}
    )
    status: WorkflowStatus | None = None
    metadata: Json | None = None
