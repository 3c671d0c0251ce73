// What the servers on Node and Bun share: the source of events, and what one is, as the gateway's are.
import dgram from "node:dgram";

const seqs = new Map();

export function eventOf(task, at) {
  const seq = (seqs.get(task) ?? 0) + 1;
  seqs.set(task, seq);
  return {
    type: "event",
    task_id: `00000000-0000-4000-8000-${task.padStart(12, "0")}`,
    seq,
    event: "progress",
    time: new Date().toISOString(),
    data: { phase: "bench", status: "running", progress: null, at },
  };
}

// Datagrams "FIRST TASKS EVENTS AT" on `port`: `publish(task, event)` for each event of each task.
export function listen(port, publish) {
  const source = dgram.createSocket("udp4");
  source.on("message", (message) => {
    const [first, tasks, events, at] = message.toString().split(" ").map(Number);
    for (let e = 0; e < events; e++)
      for (let task = first; task < first + tasks; task++) publish(String(task), eventOf(String(task), at));
  });
  source.bind(port, "127.0.0.1");
}

export function answerTo(text, subscribe) {
  const request = JSON.parse(text);
  if (request.type === "subscribe") subscribe(request.task_id);
  return JSON.stringify({ type: "result", id: request.id, result: { time: new Date().toISOString() } });
}

export const WELCOME = JSON.stringify({ type: "welcome", protocol: "gateway.v1" });
