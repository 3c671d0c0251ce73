"""picows on uvloop: a WebSocket in Cython, whose transports are written to."""

import uvloop
from made_events import PORT, WELCOME, answer_to, forget, listen, text_of, watchers
from picows import WSListener, WSMsgType, ws_create_server


class Client(WSListener):
    def on_ws_connected(self, transport):
        transport.send(WSMsgType.TEXT, WELCOME.encode())

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(WSMsgType.TEXT, answer_to(frame.get_payload_as_bytes(), transport).encode())

    def on_ws_disconnected(self, transport):
        forget(transport)


def publish(task, event):
    data = text_of(event).encode()
    for transport in watchers[task]:
        transport.send(WSMsgType.TEXT, data)


async def main():
    server = await ws_create_server(lambda _request: Client(), "127.0.0.1", PORT, backlog=2048)
    print("ready", flush=True)
    await listen(publish)
    await server.serve_forever()


uvloop.run(main())
