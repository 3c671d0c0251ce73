// Bun's server, which is uWebSockets inside: its own publish and subscribe.  bun.mjs PORT SOURCE
import { WELCOME, answerTo, listen } from "./events.mjs";

const [port, source] = process.argv.slice(2).map(Number);
const server = Bun.serve({
  port,
  hostname: "127.0.0.1",
  fetch(request, server) {
    if (!server.upgrade(request, { headers: { "Sec-WebSocket-Protocol": "gateway.v1" } })) return new Response("", { status: 400 });
  },
  websocket: {
    open: (socket) => socket.send(WELCOME),
    message: (socket, text) => socket.send(answerTo(text, (task) => socket.subscribe(task))),
  },
});
listen(source, (task, event) => server.publish(task, JSON.stringify(event)));
console.log("ready");
