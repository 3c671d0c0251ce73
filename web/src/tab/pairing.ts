/** How the tab gets to know whose sandbox it is: by a link that is good once, for a token of its own. */

/** What a tab holds once it is paired. It is kept for this tab alone, and opens nothing but `/sandbox`. */
export interface Pairing {
  token: string;
  subject: string;
  /** RFC 3339; null where it does not end by itself. */
  expires_at: string | null;
  runtime_url: string;
  runtime_key: string | null;
  /** Its person has agreed. */
  agreed: boolean;
}

const KEY = "gateway.tab";
const SANDBOX_KEY = "gateway.tab.sandbox";
const LINK = /^#(pairing\.[\w.-]+)$/;
const DEADLINE_MS = 10_000;

/** The pairing token is good no more; the message is for people. */
export class PairingRefused extends Error {}

/** Takes the token out of the address bar, where it would stay for others to see. */
export function takeLink(): string | null {
  const token = LINK.exec(location.hash)?.[1] ?? null;
  if (token !== null) history.replaceState(null, "", location.pathname);
  return token;
}

/** Uses a pairing token up. @throws PairingRefused, or Error where the gateway does not answer. */
export function redeem(token: string): Promise<Pairing> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(door(), protocols(token));
    const timer = setTimeout(() => socket.close(), DEADLINE_MS);
    socket.onmessage = ({ data }) => {
      const said = JSON.parse(data as string) as Pairing & { type: string; code?: number; reason?: string };
      if (said.type === "paired") resolve({ ...said, agreed: false });
      else if (said.code === 4401 || said.code === 4403) reject(new PairingRefused(said.reason));
    };
    socket.onclose = () => {
      clearTimeout(timer);
      // Of no effect where it has answered.
      reject(new Error("The gateway does not answer."));
    };
  });
}

export function stored(): Pairing | null {
  const text = sessionStorage.getItem(KEY);
  return text === null ? null : (JSON.parse(text) as Pairing);
}

export function store(pairing: Pairing): void {
  sessionStorage.setItem(KEY, JSON.stringify(pairing));
}

export function forget(): void {
  sessionStorage.removeItem(KEY);
}

/** By which the gateway knows this tab again after a reload. */
export function sandboxId(): string {
  const id = sessionStorage.getItem(SANDBOX_KEY) ?? `tab-${crypto.randomUUID()}`;
  sessionStorage.setItem(SANDBOX_KEY, id);
  return id;
}

/** The gateway's door for sandboxes. */
export function door(): string {
  return new URL("/sandbox", location.href.replace(/^http/, "ws")).href;
}

/** A browser sets no headers: the token goes as a subprotocol, and another is offered for the gateway to choose. */
export function protocols(token: string): string[] {
  return ["sandbox.v1", `bearer.${token}`];
}
