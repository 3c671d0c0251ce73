"""python-socketio on aiohttp and uvloop, as its documentation has it: a room for each task."""

from datetime import UTC, datetime

import socketio
import uvloop
from aiohttp import web
from made_events import PORT, listen

server = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])


@server.event
async def connect(sid, _environ):
    await server.emit("welcome", {"protocol": "gateway.v1"}, to=sid)


@server.event
async def subscribe(sid, task):
    await server.enter_room(sid, task)
    return {}


@server.event
async def ask(_sid):
    return {"time": datetime.now(UTC).isoformat()}


async def main():
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT, backlog=2048).start()
    print("ready", flush=True)
    await listen(lambda task, event: server.emit("event", event, room=task))


uvloop.run(main())
