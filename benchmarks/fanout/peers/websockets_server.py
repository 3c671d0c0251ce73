"""`websockets` on uvloop, with its broadcast()."""

import uvloop
from made_events import PORT, WELCOME, answer_to, forget, listen, text_of, watchers
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed


async def handle(socket):
    await socket.send(WELCOME)
    try:
        async for text in socket:
            await socket.send(answer_to(text, socket))
    except ConnectionClosed:
        pass
    finally:
        forget(socket)


async def main():
    options = {"subprotocols": ["gateway.v1"], "compression": None, "backlog": 2048}
    async with serve(handle, "127.0.0.1", PORT, **options):
        print("ready", flush=True)
        await listen(lambda task, event: broadcast(watchers[task], text_of(event)))


uvloop.run(main())
