// `ws` on Node: sets of sockets, an event made a text once, send() to each.  ws.mjs PORT SOURCE
import { WebSocketServer } from "ws";
import { WELCOME, answerTo, listen } from "./events.mjs";

const [port, source] = process.argv.slice(2).map(Number);
const watchers = new Map();
const server = new WebSocketServer({ port, host: "127.0.0.1", handleProtocols: () => "gateway.v1" }, () => console.log("ready"));

server.on("connection", (socket) => {
  const watched = new Set();
  socket.send(WELCOME);
  socket.on("message", (text) => {
    socket.send(
      answerTo(text, (task) => {
        if (!watchers.has(task)) watchers.set(task, new Set());
        watchers.get(task).add(socket);
        watched.add(task);
      }),
    );
  });
  socket.on("close", () => watched.forEach((task) => watchers.get(task).delete(socket)));
});
listen(source, (task, event) => {
  const text = Buffer.from(JSON.stringify(event));
  for (const socket of watchers.get(task) ?? []) socket.send(text, { binary: false });
});
