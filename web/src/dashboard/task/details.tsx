import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";

import type { Line } from "../charts/chart.ts";
import { ChartPane } from "../charts/chart-pane.tsx";
import type { Follower } from "../follow.ts";
import { workflowHref } from "../route.ts";
import { ScrollText } from "../scroll-text.tsx";
import { StatusBadge } from "../status.tsx";
import { type KnownTask, now } from "../store.ts";
import type { Moment } from "../task-model.ts";
import { preciseDuration } from "../words.ts";
import { Why } from "./timeline.tsx";

/** Long texts of an input are cut here; the gateway has them whole. */
const MAX_JSON_CHARS = 20_000;

export function Details({ task, follower }: { task: KnownTask; follower: Follower }) {
  const { model } = follower;
  return (
    <div class="details">
      <section aria-labelledby="attempts-title">
        <h2 id="attempts-title">What happened</h2>
        <ol class="moments">
          {model.moments.map((moment, index) => (
            <li key={moment.seq}>
              <StatusBadge status={moment.status} />
              <span class="hint">attempt {moment.attempt}</span>
              <time dateTime={moment.time}>{new Date(moment.time).toLocaleTimeString("en-GB")}</time>
              <Lasted from={moment} to={model.moments[index + 1]} isOver={task.ended_at !== null} />
              <Why moment={moment} />
            </li>
          ))}
        </ol>
      </section>
      <section aria-labelledby="rate-title">
        <h2 id="rate-title">Events</h2>
        <Rate follower={follower} />
      </section>
      <section aria-labelledby="facts-title">
        <h2 id="facts-title">Facts</h2>
        <dl class="fact-list">
          <Fact word="Workflow">
            <a href={workflowHref(task.workflow_id)}>{task.workflow_id}</a>
          </Fact>
          <Fact word="Submitted">{new Date(task.created_at).toLocaleString("en-GB")}</Fact>
          <Fact word="By">{task.subject}</Fact>
          <Fact word="Attempts">
            {task.attempt} of {task.max_attempts}
          </Fact>
          <Fact word="Timeout">{task.timeout_s} s</Fact>
          <Fact word="Priority">{task.priority}</Fact>
          <Fact word="Events">{task.last_seq.toLocaleString("en")}</Fact>
          <Fact word="Instance">{task.instance ?? "–"}</Fact>
          <Fact word="Sandbox">{task.sandbox_id ?? "–"}</Fact>
          {Object.entries(task.labels).map(([key, value]) => (
            <Fact key={key} word={key}>
              {value}
            </Fact>
          ))}
        </dl>
      </section>
      {task.input !== undefined && <Json title="Input" value={task.input} />}
      {model.result !== null && <Json title="Result" value={model.result} />}
      {model.error?.details != null && <Json title="Error" value={model.error.details} />}
    </div>
  );
}

const EVENTS: Line[] = [{ word: "events a second", colour: "--accent", isFilled: true }];

function Rate({ follower }: { follower: Follower }) {
  const version = follower.version.value;
  const data = useMemo(() => follower.rate.data(), [follower, version]);
  const words = [`at most ${Math.max(0, ...data[1]).toLocaleString("en")}`];
  return <ChartPane label="Events over its life" lines={EVENTS} data={data} words={words} />;
}

function Fact({ word, children }: { word: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{word}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Lasted({ from, to, isOver }: { from: Moment; to: Moment | undefined; isOver: boolean }) {
  if (to === undefined && isOver) return null;
  const end = to === undefined ? now.value : Date.parse(to.time);
  return <span class="hint">{preciseDuration(end - Date.parse(from.time))}</span>;
}

export function Json({ title, value }: { title: string; value: unknown }) {
  const text = JSON.stringify(value, null, 2);
  return (
    <details class="json">
      <summary>{title}</summary>
      <ScrollText
        label={title}
        text={text.length > MAX_JSON_CHARS ? `${text.slice(0, MAX_JSON_CHARS)}…` : text}
      />
    </details>
  );
}
