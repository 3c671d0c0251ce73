"""The Python client: a session with a gateway that outlives its sockets.

    async with connect("http://127.0.0.1:8080") as gateway:
        task = await gateway.submit(input={"commands": ["echo hello"]})
        async for event in task:
            print(event["event"], event["data"])
        print(await task.result())

A dropped connection is made again (back-off with full jitter, or when the gateway said), and every task goes
on from its last seq. A request is sent again on the next connection; a submit carries a key that makes this
safe.
"""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypedDict, Unpack

from gateway.client.connection import Connection, Frame, OnEvent, OnResult, dial, encoded
from gateway.client.errors import (
    ClientError,
    ClosedError,
    DeadlineError,
    RefusedError,
    RequestError,
    TokenError,
    UnreachableError,
)
from gateway.client.files import named
from gateway.client.http import Http
from gateway.client.task import TaskHandle
from gateway.client.tokens import Token, run_renewed, token_of
from gateway.client.workflows import Workflows

REQUEST_TIMEOUT_S: Final = 30.0
GIVE_UP_AFTER_S: Final = 300.0
"""A gateway that can't be reached for as long won't come back soon; it is also how long a drain may take."""
BACKOFF_BASE_S: Final = 0.3
BACKOFF_CAP_S: Final = 20.0
SUBSCRIBE_ATTEMPTS: Final = 20
"""How often a gateway may say that it is short of something: with the back-off, some minutes."""
TOKEN_OVER: Final = 4401
STABLE_S: Final = 10.0
"""A connection that held for as long starts the back-off anew."""

State = Literal["connected", "reconnecting", "closed"]
Mode = Literal["streaming", "blocking", "background"]


class Dial(Protocol):
    """Makes a connection; raises UnreachableError, RefusedError or ClosedError."""

    async def __call__(self, *, session_id: str | None, on_event: OnEvent) -> Connection:
        """Make one for the session of that id, where there was one."""


class TaskOptions(TypedDict, total=False):
    """The fields of `submit_task`, as the contract has them."""

    agent: str
    input: dict[str, Any]
    idempotency_key: str
    workflow_id: str
    timeout_s: int
    labels: dict[str, str]
    max_attempts: int
    priority: int
    detach: Literal["continue", "pause", "cancel"]
    detach_after_s: int


@asynccontextmanager
async def connect(
    url: str = "http://127.0.0.1:8080",
    *,
    token: Token = None,
    give_up_after_s: float = GIVE_UP_AFTER_S,
    on_state: Callable[[State], None] | None = None,
) -> AsyncIterator["Session"]:
    """A session with the gateway at `url` (http, https, ws or wss), for as long as the block runs.

    A `token` that is a function is asked again for each connection and each request by HTTP, and before the token
    expires. `on_state` hears when the connection is lost and found. Raises UnreachableError, RefusedError,
    TokenError or ClosedError where the first connection can't be made.
    """

    async def dial_url(*, session_id: str | None, on_event: OnEvent) -> Connection:
        return await dial(url, token=await token_of(token), session_id=session_id, on_event=on_event)

    session = Session(dial_url, Http(url, token), give_up_after_s=give_up_after_s, on_state=on_state)
    await session.open()
    try:
        yield session
    finally:
        await session.aclose()


class Session:
    """Who is behind the sockets: requests, and the tasks that are listened to."""

    def __init__(
        self,
        dial: Dial,
        http: Http,
        *,
        give_up_after_s: float = GIVE_UP_AFTER_S,
        on_state: Callable[[State], None] | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._dial = dial
        self.http = http
        """The files of any task: `files` and `download`."""
        self.workflows = Workflows(self)
        self._give_up_after_s = give_up_after_s
        self._on_state = on_state or (lambda _: None)
        self._chance = chance or random.SystemRandom()
        self._tasks: dict[str, TaskHandle] = {}
        self._session_id: str | None = None
        self._failures = 0
        # The connection, or the wait for one, or why there will be none.
        self._up: asyncio.Future[Connection]
        # Keeps the connection: from open() to aclose(), or until it has given up.
        self._keeper: asyncio.Task[None]

    async def open(self) -> None:
        """Connect for the first time, and from then on stay connected."""
        loop = asyncio.get_running_loop()
        connection = await self._dial(session_id=None, on_event=self._deliver)
        self._up = loop.create_future()
        self._connected(connection)
        self._keeper = loop.create_task(self._keep(connection))

    async def aclose(self) -> None:
        """Close the connection. Tasks run on."""
        up = self._up
        self._give_up(ClosedError(1000, "closed by us", reconnect=False))
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        if up.done() and not up.cancelled() and not up.exception():
            await up.result().aclose()

    # --- What a user asks for.

    async def submit(
        self,
        *,
        mode: Mode = "streaming",
        files: Path | str | Mapping[str, Path] | None = None,
        **options: Unpack[TaskOptions],
    ) -> TaskHandle:
        """Submit a task; on return it is durable, and with `mode` "blocking" it has ended.

        `files` are uploaded with it: all of a directory, or files by the path that each gets in the sandbox. They,
        and an input larger than a frame, go by HTTP. As a key makes it safe to repeat, it is asked again on each
        connection, until `give_up_after_s`: a gateway that answers nothing is noticed, and left, only after 40 s.
        Raises RequestError, TooLargeError, FilesError or DeadlineError.
        """
        body: Frame = {"idempotency_key": str(uuid.uuid4()), **options, "mode": mode}
        if files is not None:
            found = files if isinstance(files, Mapping) else named([Path(files)])
            return await self._submit_large(body, found)
        connection = await self._connection(self._give_up_after_s)
        if len(encoded(body)) + 256 > connection.max_frame_bytes:
            return await self._submit_large(body)
        handles: list[TaskHandle] = []

        def begin(source: Connection, answer: Frame) -> None:
            handle = TaskHandle(self, answer["task"])
            handles.append(handle)
            if mode == "streaming":
                self._tasks[handle.task_id] = handle
                handle.subscribed(source, {"task": answer["task"], "first_seq": 1})

        timeout_s = None if mode == "blocking" else self._give_up_after_s
        await self._request("submit_task", body, timeout_s=timeout_s, on_result=begin)
        return handles[-1]

    def task(self, task_id: str, after_seq: int = 0) -> TaskHandle:
        """A task by its id, to steer it, or to read it after the event `after_seq`; nothing is asked yet."""
        return TaskHandle(self, {"task_id": task_id, "status": "pending"}, after_seq=after_seq)

    async def subscribe(self, task_id: str, after_seq: int = 0) -> TaskHandle:
        """Listen to a task after the event `after_seq`; raises RequestError where it isn't there."""
        handle = self.task(task_id, after_seq)
        await self.attach(handle)
        return handle

    async def get_task(self, task_id: str, *, include_input: bool = False) -> Frame:
        """The task's state, as the contract's Task."""
        fields: Frame = {"task_id": task_id}
        answer = await self.request("get_task", fields | ({"include_input": True} if include_input else {}))
        task: Frame = answer["task"]
        return task

    async def list_tasks(self, **filters: Any) -> Frame:
        """A page of tasks, newest first: `{"tasks": […], "cursor": str | None}`; filters as on the wire."""
        return await self.request("list_tasks", filters)

    async def ping(self) -> str:
        """The gateway's time."""
        return str((await self.request("ping", {}))["time"])

    async def request(self, kind: str, fields: Frame, *, timeout_s: float = REQUEST_TIMEOUT_S) -> Frame:
        """Ask anything of the contract, over as many connections as it takes.

        Raises RequestError, DeadlineError, or why there is no connection any more.
        """
        return await self._request(kind, fields, timeout_s=timeout_s)

    # --- What a task needs.

    async def attach(self, task: TaskHandle) -> None:
        """Subscribe `task` from where it is, and be patient with a gateway that is short of something."""
        former = self._tasks.get(task.task_id)
        if former is not None and former is not task:
            former.fail(ClientError(f"task {task.task_id} is read by a later subscribe of this session"))
        self._tasks[task.task_id] = task
        fields = {"task_id": task.task_id, "after_seq": task.last_seq}
        for attempt in range(SUBSCRIBE_ATTEMPTS):
            try:
                await self._request(
                    "subscribe", fields, timeout_s=self._give_up_after_s, on_result=task.subscribed
                )
            except RequestError as error:
                if not error.retryable or attempt + 1 == SUBSCRIBE_ATTEMPTS:
                    raise
                told_s = error.details.get("retry_after_ms", 0) / 1000
                await asyncio.sleep(max(told_s, self._jitter(attempt + 1)))
            else:
                return

    async def detach(self, task: TaskHandle) -> None:
        """End the subscription of `task`."""
        if self._tasks.get(task.task_id) is task:
            del self._tasks[task.task_id]
            await self.request("unsubscribe", {"task_id": task.task_id})

    # --- How it works.

    async def _submit_large(self, body: Frame, files: Mapping[str, Path] | None = None) -> TaskHandle:
        answer = await self.http.post_task({**body, "mode": "background"}, files)
        handle = TaskHandle(self, answer["task"])
        if body["mode"] == "blocking":
            async for _ in handle:
                pass
        return handle

    async def _request(
        self, kind: str, fields: Frame, *, timeout_s: float | None, on_result: OnResult | None = None
    ) -> Frame:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._persist(kind, fields, on_result)
        except TimeoutError:
            raise DeadlineError(f"{kind} was not answered within {timeout_s:g} s") from None

    async def _persist(self, kind: str, fields: Frame, on_result: OnResult | None) -> Frame:
        while True:
            connection = await asyncio.shield(self._up)
            try:
                return await connection.request(kind, fields, on_result=on_result)
            except ClosedError:
                await connection.wait_ended()

    async def _connection(self, timeout_s: float) -> Connection:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._up)
        except TimeoutError:
            raise DeadlineError(f"no connection within {timeout_s:g} s") from None

    async def _keep(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time
        try:
            while True:
                since = now()
                closed = await run_renewed(connection, self.http.token)
                # Nothing is awaited from the end of the socket to here: no request meets the dead one again.
                self._lost(connection)
                if now() - since >= STABLE_S:
                    self._failures = 0
                connection = await self._redial(closed)
                self._connected(connection)
        except ClientError as error:
            self._give_up(error)
        except Exception:
            self._give_up(ClientError("the client itself failed"))
            raise

    async def _redial(self, closed: ClosedError) -> Connection:
        try:
            async with asyncio.timeout(self._give_up_after_s):
                return await self._dial_until_up(_retry_in_s(closed, renews=callable(self.http.token)))
        except TimeoutError:
            raise ClosedError(
                1006, f"no connection for {self._give_up_after_s:g} s", reconnect=False
            ) from None

    async def _dial_until_up(self, told_s: float) -> Connection:
        while True:
            await asyncio.sleep(max(told_s, self._jitter(self._failures)))
            self._failures += 1
            try:
                return await self._dial(session_id=self._session_id, on_event=self._deliver)
            except (UnreachableError, RefusedError, ClosedError, TokenError) as error:
                told_s = _retry_in_s(error)

    def _jitter(self, failures: int) -> float:
        """Seconds before the next try, any between 0 and a bound that doubles; the first is at once."""
        return self._chance.random() * min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2**failures) if failures else 0.0

    def _connected(self, connection: Connection) -> None:
        self._session_id = connection.welcome.get("session_id")
        self._up.set_result(connection)
        self._on_state("connected")

    def _lost(self, connection: Connection) -> None:
        self._up = asyncio.get_running_loop().create_future()
        for task in self._tasks.values():
            task.lost(connection)
        self._on_state("reconnecting")

    def _give_up(self, error: ClientError) -> None:
        if self._up.done():
            self._up = asyncio.get_running_loop().create_future()
        self._up.set_exception(error)
        self._up.exception()  # there may be nobody left to ask
        for task in self._tasks.values():
            task.fail(error)
        self._tasks.clear()
        self._on_state("closed")

    async def _deliver(self, connection: Connection, event: Frame, size: int) -> None:
        task = self._tasks.get(event["task_id"])
        if task is None:
            return
        if not task.deliver(connection, event, size):
            await connection.tell("unsubscribe", {"task_id": task.task_id})
        elif task.heard_out:
            del self._tasks[task.task_id]


def _retry_in_s(error: ClientError, *, renews: bool = False) -> float:
    """When to try again; raises `error` where that makes no sense."""
    if isinstance(error, RefusedError):
        if not error.passing:
            raise error
        return error.retry_after_s or 0.0
    if isinstance(error, ClosedError):
        if renews and error.code == TOKEN_OVER:
            return 0.0  # a new token may be let in; a bad one is refused at the handshake
        if not error.reconnect:
            raise error
        return error.reconnect_in_s
    return 0.0
