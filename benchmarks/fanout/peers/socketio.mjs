// Socket.IO as its documentation has it: a room for each task; with a fourth word, its Redis adapter.
// socketio.mjs PORT SOURCE [REDIS_URL]
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { listen } from "./events.mjs";

const [port, source, redis] = process.argv.slice(2);
const http = createServer();
const io = new Server(http, { transports: ["websocket"], maxHttpBufferSize: 1e6 });

if (redis) {
  const pub = createClient({ url: redis });
  const sub = pub.duplicate();
  await Promise.all([pub.connect(), sub.connect()]);
  io.adapter(createAdapter(pub, sub));
}
io.on("connection", (socket) => {
  socket.emit("welcome", { protocol: "gateway.v1" });
  socket.on("subscribe", (task, answer) => {
    socket.join(task);
    answer({});
  });
  socket.on("ask", (answer) => answer({ time: new Date().toISOString() }));
});
if (Number(source)) listen(Number(source), (task, event) => io.to(task).emit("event", event));
http.listen(Number(port), "127.0.0.1", () => console.log("ready"));
