"""Starlette on uvicorn, with its newest WebSocket (websockets-sansio) and uvloop: sends to one after the other."""

import asyncio
import contextlib

import uvicorn
from made_events import PORT, WELCOME, answer_to, forget, listen, text_of, watchers
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect


async def serve(socket):
    await socket.accept(subprotocol="gateway.v1")
    await socket.send_text(WELCOME)
    try:
        while True:
            await socket.send_text(answer_to(await socket.receive_text(), socket))
    except WebSocketDisconnect:
        forget(socket)


async def publish(task, event):
    text = text_of(event)
    for socket in tuple(watchers[task]):
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await socket.send_text(text)


@contextlib.asynccontextmanager
async def lifespan(_app):
    listening = asyncio.create_task(listen(publish))
    print("ready", flush=True)
    yield
    listening.cancel()


app = Starlette(routes=[WebSocketRoute("/ws", serve)], lifespan=lifespan)
uvicorn.run(
    app,
    host="127.0.0.1",
    port=PORT,
    ws="websockets-sansio",
    loop="uvloop",
    log_level="critical",
    ws_per_message_deflate=False,
)
