// The selected app: its head, its workers, and a reload slot by slot.

import { byId, el, keyed, setAttribute, setText } from "/dom.js";
import { bytes, count, percent, plural, rate, span } from "/format.js";

const COLUMNS = [
  ["slot", "Slot", "number"],
  ["pid", "PID", "number"],
  ["state", "State", ""],
  ["generation", "Gen", "number"],
  ["cpu", "CPU", "number"],
  ["memory", "Memory", "number"],
  ["connections", "Conn", "number"],
  ["accepted", "Acc/s", "number"],
  ["backlog", "Queue", "number"],
  ["restarts", "Restarts", "number"],
  ["up", "Up", "number"],
];

const SLOTS = { old: "old worker", between: "old and new", new: "new worker" };

/** Shows the app. `now`: the time of the server in milliseconds. */
export function drawDetail(app, state, now, actions) {
  drawHead(byId("head"), app, state, now, actions);
  drawRollout(byId("rollout"), app.rollout);
  setText(byId("worker-count"), `${app.ready} of ${app.wanted} ready`);
  drawWorkers(byId("workers"), app, now);
}

function drawHead(place, app, state, now, actions) {
  if (place.dataset.app !== app.name) {
    place.dataset.app = app.name;
    place.replaceChildren(
      el("div", { class: "title" }, el("span", { class: "dot" }), el("h1", {}, app.name), el("span", { class: "state" }), el("div", { class: "actions" })),
      el("p", { class: "reason" }),
      el("dl", { class: "facts" }),
      el("ul", { class: "notes" }),
    );
  }
  place.className = app.tone;
  const find = (selector) => place.querySelector(selector);
  setText(find(".state"), app.state);
  setText(find(".reason"), app.reason ?? "");
  find(".reason").hidden = !app.reason;
  actions.draw(find(".actions"), app);
  const facts = [
    ["Address", app.addresses.join(", ") || "–"],
    ["Generation", String(app.generation)],
    ["Up", span(now / 1000 - app.started)],
    ["Restarts", count(app.restarts)],
    app.recycles ? ["Recycled", count(app.recycles)] : null,
    app.primary_deaths ? ["Primary deaths", count(app.primary_deaths)] : null,
    ["Engine", app.engine || "–"],
    ["Primary", `pid ${app.primary_pid}, ${app.version}`],
    app.source ? ["From", app.source, "long"] : null,
    app.last_reload ? ["Last reload", withoutName(app, app.last_reload), "long"] : null,
  ].filter(Boolean);
  keyed(
    find(".facts"),
    facts,
    ([name]) => name,
    ([name, , kind]) => el("div", { class: kind }, el("dt", {}, name), el("dd", {})),
    (item, [, text]) => {
      setText(item.lastElementChild, text);
      item.lastElementChild.title = text;
    },
  );
  keyed(find(".notes"), app.notes, (note) => note, (note) => el("li", {}, note), () => {});
}

/** What primaries say begins with the name of the app, which is in sight. */
function withoutName(app, text) {
  return text.startsWith(`${app.name}: `) ? text.slice(app.name.length + 2) : text;
}

function drawRollout(place, slots) {
  place.hidden = !slots;
  if (!slots) return;
  const done = slots.filter((slot) => slot === "new").length;
  place.replaceChildren(
    el("span", {}, `Reload: ${done} of ${plural(slots.length, "slot")} replaced`),
    ...slots.map((slot, at) => el("i", { class: slot, title: `slot ${at}: ${SLOTS[slot]}` })),
  );
}

function drawWorkers(table, app, now) {
  const several = app.pools.length > 1;
  const columns = several ? [COLUMNS[0], ["pool", "Pool", ""], ...COLUMNS.slice(1)] : COLUMNS;
  const layout = columns.map(([key]) => key).join();
  if (table.dataset.layout !== layout) {
    table.dataset.layout = layout;
    const titles = columns.map(([, title, kind]) => el("th", { class: kind, scope: "col" }, title));
    table.replaceChildren(el("thead", {}, el("tr", {}, titles)), el("tbody"));
  }
  keyed(
    table.tBodies[0],
    app.workers,
    (worker) => `${worker.slot}/${worker.generation}/${worker.pid}`,
    () => el("tr", {}, columns.map(([key, title, kind]) => el("td", { class: kind, "data-of": key, "data-title": title }))),
    (row, worker) => drawWorker(row, worker, now),
  );
}

function drawWorker(row, worker, now) {
  row.className = worker.tone;
  const texts = {
    slot: String(worker.slot),
    pool: worker.pool ?? "",
    pid: worker.pid === null ? "–" : String(worker.pid),
    generation: String(worker.generation),
    cpu: percent(worker.cpu),
    memory: bytes(worker.memory),
    connections: count(worker.connections),
    accepted: rate(worker.accepted),
    backlog: count(worker.backlog),
    restarts: count(worker.restarts),
    up: worker.started === null ? "–" : span(now / 1000 - worker.started),
  };
  for (const cell of row.cells) {
    const key = cell.dataset.of;
    if (key !== "state") {
      setText(cell, texts[key]);
      continue;
    }
    if (!cell.firstChild) cell.append(el("span", { class: "dot" }), el("span", { class: "word" }), el("span", { class: "why" }));
    setText(cell.querySelector(".word"), worker.state);
    const why = worker.reason ?? worker.status ?? (worker.tone === "good" ? "" : worker.last_exit) ?? "";
    setText(cell.querySelector(".why"), why);
    setAttribute(cell, "title", worker.last_exit ? `the worker before it: ${worker.last_exit}` : null);
  }
}

/** Shows that there is nothing to show, and what to do. */
export function drawNothing(place, state) {
  const text = !state.listed
    ? "Connecting…"
    : state.apps.size === 0
      ? "No apps run. Start one:"
      : "Choose an app.";
  const key = text;
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  const code = state.listed && state.apps.size === 0 ? [el("code", {}, "supervisor start -i max -- node server.js")] : [];
  place.replaceChildren(el("div", { class: "empty" }, el("p", {}, text), ...code));
}
