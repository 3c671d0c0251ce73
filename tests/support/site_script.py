"""A web site as somebody's program in a jail: HTTP with streams, and WebSocket, by the standard library alone."""

SITE = r'''
import asyncio, base64, hashlib

PAGE = b"""<!doctype html><title>site</title><script>
const seen = [];
const done = (async () => {
  seen.push(location.origin, (await (await fetch("/hello")).text()));
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket`);
  seen.push(await new Promise((told) => {
    socket.onopen = () => socket.send("ping");
    socket.onmessage = (event) => told(event.data);
    socket.onerror = () => told("error");
  }));
  localStorage.setItem("mine", "1");
  seen.push(localStorage.length);
  return seen;
})();
</script>"""


async def answer(reader, writer):
    while head := await head_of(reader):
        (method, path, _), headers = head
        if path == "/socket":
            return await socket(headers, reader, writer)
        if path == "/upload":
            digest, size = hashlib.sha256(), 0
            async for part in body(headers, reader):
                digest.update(part)
                size += len(part)
            text = f"{size} {digest.hexdigest()}".encode()
        elif path.startswith("/download/"):
            size = int(path.rpartition("/")[2])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size >> 16):
                writer.write(b"d" * 65536)
                await writer.drain()
            continue
        elif path == "/ticks":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            for tick in range(3):
                writer.write(b"data: %d\n\n" % tick)
                await writer.drain()
                await asyncio.sleep(0.2)
            break
        else:
            text = PAGE if path == "/" else ("hello from " + headers["host"]).encode()
        kind = b"text/html" if path == "/" else b"text/plain"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(text), text))
        await writer.drain()
    writer.close()


async def head_of(reader):
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    fields = (line.partition(":") for line in lines[1:])
    return lines[0].split(), {name.lower(): value.strip() for name, _, value in fields}


async def body(headers, reader):
    if "content-length" in headers:
        left = int(headers["content-length"])
        while left:
            part = await reader.read(min(left, 65536))
            left -= len(part)
            yield part
        return
    while size := int((await reader.readline()).strip(), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()


async def socket(headers, reader, writer):
    key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
    writer.write(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept)
    while True:
        first, size = await reader.readexactly(2)
        mask, data = await reader.readexactly(4), await reader.readexactly(size & 127)
        plain = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        writer.write(bytes([first, len(plain)]) + plain)
        await writer.drain()
        if first & 15 == 8:
            return writer.close()


async def main():
    async with await asyncio.start_server(answer, "127.0.0.1", 4000) as server:
        await server.serve_forever()

asyncio.run(main())
'''
"""Listens on port 4000: `/`, `/hello`, `/upload`, `/download/BYTES`, `/ticks` and `/socket`, which says again what it
hears."""
