import { canSteer, guestUntil, leaveLink } from "./identity.ts";

/** Says why nothing can be steered here, and the way back to oneself. */
export function GuestBar() {
  if (canSteer.value) return null;
  const until = guestUntil.value;
  return (
    <aside class="guest" aria-label="What you may do here">
      <p>
        {until === null
          ? "Your token lets you watch tasks, not steer them."
          : "You came by a link: it shows this task, and lets you watch, not steer."}
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
