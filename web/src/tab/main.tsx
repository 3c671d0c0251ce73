/** `/sandbox-tab`: paired by a link, agreed to by its person, one to a browser; then it boots and serves. */

import { render } from "preact";

import { Guest } from "./guest.ts";
import { become } from "./lock.ts";
import {
  forget,
  type Pairing,
  PairingRefused,
  redeem,
  sandboxId,
  store,
  stored,
  takeLink,
} from "./pairing.ts";
import { Runtime } from "./runtime.ts";
import { Sessions } from "./sessions.ts";
import { done, owner, state } from "./state.ts";
import { View } from "./view.tsx";
import "../dashboard/style/tokens.css";
import "./tab.css";

let guest: Guest | null = null;
let sessions: Sessions | null = null;
let started = 0;

/** Why this page can't run anything, as it was opened; null where it can. */
function obstacle(): string | null {
  if (!isSecureContext) return "It has to be opened over HTTPS, or on the machine that the gateway runs on.";
  if (!crossOriginIsolated)
    return "This page is not isolated from other sites, which a runtime needs. Its headers Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy got lost on the way, as in a proxy, or this browser does not know them.";
  if (!("locks" in navigator)) return "This browser has no Web Locks.";
  return null;
}

async function start(): Promise<void> {
  const why = obstacle();
  if (why !== null) {
    state.value = { phase: "unsupported", why };
    return;
  }
  const pairing = await paired();
  if (pairing === null) return;
  owner.value = pairing.subject;
  if (pairing.agreed) await work(pairing);
  else state.value = { phase: "consent" };
}

/** By the link that the page was opened with, or from before it was reloaded. */
async function paired(): Promise<Pairing | null> {
  const link = takeLink();
  try {
    if (link !== null) store(await redeem(link));
  } catch (error) {
    const why = (error as Error).message;
    const isRefused = error instanceof PairingRefused;
    state.value = { phase: isRefused ? "expired" : "failed", why };
    // It may still be good: a reload tries it again.
    if (!isRefused) history.replaceState(null, "", `#${link}`);
    return null;
  }
  const pairing = stored();
  if (pairing === null) state.value = { phase: "unpaired" };
  return pairing;
}

function agree(): void {
  const pairing = stored();
  if (pairing === null) return;
  store({ ...pairing, agreed: true });
  void work(pairing);
}

async function work(pairing: Pairing): Promise<void> {
  await become(() => {
    state.value = { phase: "standby" };
  });
  state.value = { phase: "booting" };
  try {
    serve(await Runtime.boot(pairing.runtime_url, pairing.runtime_key));
  } catch (error) {
    state.value = { phase: "failed", why: (error as Error).message };
  }
}

function serve(runtime: Runtime): void {
  sessions = new Sessions(
    runtime,
    (isRunning) => {
      started += isRunning ? 1 : 0;
      done.value += isRunning ? 0 : 1;
      if (state.value.phase === "waiting" || state.value.phase === "running") showWork();
    },
    () => {
      guest?.stop();
      state.value = { phase: "failed", why: "The runtime broke down, and did not start again." };
    },
  );
  const identity = {
    sandboxId: sandboxId(),
    bootId: crypto.randomUUID(),
    token: () => stored()?.token ?? "",
  };
  guest = new Guest(identity, sessions, {
    onConnected: showWork,
    onOffline: (why) => {
      state.value = { phase: "offline", why };
    },
    onRefused: (why, isExpired) => {
      state.value = { phase: isExpired ? "expired" : "stopped", why };
    },
  });
  guest.dial();
}

function showWork(): void {
  state.value =
    sessions !== null && sessions.active > 0 ? { phase: "running", task: started } : { phase: "waiting" };
}

/** All of it goes with the page: what runs, the runtime, the lock. */
function stop(): void {
  forget();
  location.reload();
}

/** A new link in a page that is open: the same person's renews it, another's begins anew. */
async function repaired(): Promise<void> {
  const link = takeLink();
  if (link === null) return;
  const before = stored();
  try {
    const pairing = await redeem(link);
    const isSame = before?.subject === pairing.subject && before.runtime_url === pairing.runtime_url;
    store({ ...pairing, agreed: isSame && before.agreed });
    if (guest === null || !isSame) location.reload();
    else guest.dial();
  } catch (error) {
    if (guest === null) state.value = { phase: "expired", why: (error as Error).message };
  }
}

addEventListener("hashchange", () => void repaired());
addEventListener("online", () => guest?.dial());
addEventListener("offline", () => guest?.drop());
const actions = { agree, stop, again: () => location.reload() };
render(<View actions={actions} runtime={stored} />, document.getElementById("tab") as HTMLElement);
void start();
