import { canSteer, guestUntil, leaveLink } from "./identity.ts";

/** Says what whoever came by a link may do, or why nothing can be steered, and the way back to oneself. */
export function GuestBar() {
  const until = guestUntil.value;
  if (until === null && canSteer.value) return null;
  return (
    <aside class="guest" aria-label="What you may do here">
      <p>
        {until === null
          ? "Your token lets you watch tasks, not steer them."
          : `You came by a link: it shows this task, and lets you ${canSteer.value ? "steer it" : "watch, not steer"}.`}
        {until !== null && Number.isFinite(until) && ` It works until ${moment(until)}.`}
      </p>
      {until !== null && (
        <button type="button" class="small" onClick={leaveLink}>
          Leave the link
        </button>
      )}
    </aside>
  );
}

/** A time as near ones are told: with its day, where that is not today. */
export function moment(ms: number): string {
  const at = new Date(ms);
  const time = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.toLocaleDateString("en-GB", { day: "numeric", month: "long" })}, ${time}`;
}
