/** The client of the gateway: no DOM, no dependency; for browsers and for Node with a WebSocket given. */

export { GatewayError } from "./errors.ts";
export type * from "./protocol.ts";
export { PROTOCOL, TERMINAL } from "./protocol.ts";
export { GatewaySession, type Recovery, type SessionOptions, type SessionState } from "./session.ts";
export type { Clock, ConnectionState, OpenSocket, SocketLike } from "./socket.ts";
export { Subscription } from "./subscription.ts";
export { TaskHandle } from "./task.ts";
