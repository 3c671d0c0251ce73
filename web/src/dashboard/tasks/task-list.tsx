import { useCallback, useEffect, useMemo } from "preact/hooks";

import { Icon } from "../icons.tsx";
import { narrow } from "../narrow.ts";
import { offers, route, setQuery } from "../route.ts";
import { cursors, type Filter, filterKey, listError, loadTasks, tasks, welcome } from "../store.ts";
import { VirtualRows } from "../virtual-rows.tsx";
import { STATUS_WORDS } from "../words.ts";
import { fits, STATUSES, wantedOf } from "./filters.ts";
import { TaskRow } from "./task-row.tsx";
import { Welcome } from "./welcome.tsx";

const ROW_PX = 64;
const NARROW_ROW_PX = 84;

export function TaskList() {
  const { query } = route.value;
  const wanted = useMemo(() => wantedOf(query), [query]);
  const shown = useMemo(() => tasks.value.filter((task) => fits(task, wanted)), [tasks.value, wanted]);
  const key = filterKey(wanted.filter);
  const more = useCallback(() => void loadTasks(wanted.filter), [wanted.filter, cursors.value]);
  const isLoading = !cursors.value.has(key);
  // The first page at once: what was told by itself may fill the list, so that its end never comes into sight.
  useEffect(() => {
    if (isLoading) more();
  }, [isLoading, more]);
  const isAll = query.toString() === "";
  if (isAll && !isLoading && tasks.value.length === 0 && offers("new")) return <Welcome />;
  return (
    <section class="task-list" aria-labelledby="tasks-title">
      <div class="list-head">
        <h1 id="tasks-title">Tasks</h1>
        {offers("new") && (
          <a class="button primary" href="#/new">
            <Icon name="plus" /> New task
          </a>
        )}
      </div>
      <Filters filter={wanted.filter} />
      {listError.value !== null && (
        <p role="alert" class="failure">
          The list can't be read: {listError.value}
        </p>
      )}
      {shown.length === 0 && !isLoading && (
        <div class="empty">
          <p>No task fits.</p>
          <button type="button" onClick={() => setQuery({ q: "", status: "", agent: "", label: "" })}>
            Show all tasks
          </button>
        </div>
      )}
      <VirtualRows
        items={shown}
        rowHeight={narrow.value ? NARROW_ROW_PX : ROW_PX}
        label="Tasks"
        keyOf={(task) => task.task_id}
        row={(task) => <TaskRow task={task} />}
        onEnd={more}
      />
      <p class="list-foot hint" role="status">
        {isLoading ? "Loading…" : count(shown.length, cursors.value.get(key) !== null)}
      </p>
    </section>
  );
}

function count(number: number, hasOlder: boolean): string {
  const told = number.toLocaleString("en");
  if (hasOlder) return `The newest ${told}; older ones come as you scroll.`;
  return number === 1 ? "1 task" : `${told} tasks`;
}

function Filters({ filter }: { filter: Filter }) {
  const { query } = route.value;
  const agents = welcome.value?.agents ?? [];
  return (
    <search class="filters">
      <label class="search">
        <span class="unseen">Search tasks</span>
        <Icon name="search" />
        <input
          type="search"
          placeholder="Search by name, label or id"
          value={query.get("q") ?? ""}
          onInput={(event) => setQuery({ q: event.currentTarget.value })}
        />
        <kbd>/</kbd>
      </label>
      <fieldset class="chips">
        <legend class="unseen">Status</legend>
        <Chip word="All" isOn={filter.status === undefined} status="" />
        {STATUSES.map((status) => (
          <Chip key={status} word={STATUS_WORDS[status]} isOn={filter.status === status} status={status} />
        ))}
      </fieldset>
      <label class="agent-filter">
        <span class="unseen">Agent</span>
        <select
          value={filter.agent ?? ""}
          onChange={(event) => setQuery({ agent: event.currentTarget.value })}
        >
          <option value="">Any agent</option>
          {agents.map((agent) => (
            <option key={agent}>{agent}</option>
          ))}
        </select>
      </label>
      {filter.label != null && (
        <button
          type="button"
          class="chip"
          onClick={() => setQuery({ label: "" })}
          aria-label={`No more ${filter.label}`}
        >
          {filter.label} ×
        </button>
      )}
    </search>
  );
}

function Chip({ word, isOn, status }: { word: string; isOn: boolean; status: string }) {
  return (
    <button type="button" class="chip" aria-pressed={isOn} onClick={() => setQuery({ status })}>
      {word}
    </button>
  );
}
