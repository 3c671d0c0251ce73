/** The client of the gateway: no DOM, no dependency; for browsers and for Node with a WebSocket given. */

export { GatewayError } from "./errors.ts";
export { GatewaySession, type Recovery, type SessionOptions, type SessionState } from "./session.ts";
export type { Clock, ConnectionState, OpenSocket, SocketLike } from "./socket.ts";
export { Subscription } from "./subscription.ts";
export { TaskHandle } from "./task.ts";
export type * from "./wire.ts";
export { PROTOCOL, TERMINAL } from "./wire.ts";
