/** The client of the gateway: no DOM, no dependency in a browser. */

export type { Clock } from "./clock.ts";
export { CLOSE, GatewayError, TaskFailedError } from "./errors.ts";
export type { GetToken, Http } from "./http.ts";
export type { RequestOptions } from "./session.ts";
export { GatewaySession, type Recovery, type SessionOptions, type SessionState } from "./session.ts";
export type { ConnectionState, OpenSocket, SocketLike } from "./socket.ts";
export { Subscription } from "./subscription.ts";
export type { FileSet, FileSource } from "./tar.ts";
export { TaskHandle } from "./task.ts";
export type { WatchListener, WatchUpdate } from "./watches.ts";
export type * from "./wire.ts";
export { PROTOCOL, TERMINAL } from "./wire.ts";

import { GatewaySession, type SessionOptions } from "./session.ts";

/** A session that dials at once, and again after every drop. */
export function connect(options: SessionOptions): GatewaySession {
  const session = new GatewaySession(options);
  session.connect();
  return session;
}
