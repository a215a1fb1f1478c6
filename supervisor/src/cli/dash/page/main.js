// The page: follows the stream, keeps what it says, and draws when something changed.

import { byId, setText } from "/dom.js";
import { bytes, percent, plural } from "/format.js";
import { drawApps, inOrder } from "/apps.js";
import { drawDetail, drawNothing } from "/detail.js";
import { Charts } from "/charts.js";
import { Events, Log } from "/lines.js";
import { Actions } from "/actions.js";

/** How often the charts are fetched, in milliseconds. A step of them has ten seconds. */
const CHART_INTERVAL = 10_000;
/** How long a page may be hidden before it leaves the stream: browsers have few connections. */
const HIDDEN_GRACE = 5_000;
const RETRY = 3_000;

const state = {
  apps: new Map(),
  listed: false,
  selected: null,
  filter: "",
  hello: null,
  /** The clock of the server less that of this browser, in milliseconds. */
  skew: 0,
};

let source = null;
let retry = null;
let hiding = null;
let frame = null;

const charts = new Charts(byId("charts"), byId("head"));
const log = new Log(byId("log"));
const events = new Events(byId("events"));
const actions = new Actions(() => state);

const now = () => Date.now() + state.skew;
// Names of apps are written in a URL as they are.
const selectedByUrl = () => location.hash.slice(1);
const isWide = () => matchMedia("(min-width: 860px)").matches;

// The stream.

function connect() {
  close();
  const app = state.selected;
  source = new EventSource(app ? `/events?app=${encodeURIComponent(app)}` : "/events");
  const on = (name, take) =>
    source.addEventListener(name, (event) => {
      take(JSON.parse(event.data));
      draw();
    });
  on("hello", (hello) => {
    state.hello = hello;
    state.skew = hello.now - Date.now();
    document.body.classList.toggle("acts", hello.actions);
    log.begin(hello.now);
    events.begin();
    live("on", "live");
  });
  on("apps", (names) => {
    state.listed = true;
    for (const name of state.apps.keys()) if (!names.includes(name)) state.apps.delete(name);
  });
  on("app", (app) => state.apps.set(app.name, app));
  on("happened", (event) => {
    events.add(event);
    if (event.kind === "command") actions.ended(event);
    else if (event.app === state.selected) log.event(event);
  });
  on("log", (lines) => log.take(lines));
  source.addEventListener("error", () => {
    live("lost", "no connection");
    // A browser gives up when the answer is no stream: the token may be another one now.
    if (source && source.readyState === EventSource.CLOSED) again();
  });
}

function close() {
  clearTimeout(retry);
  if (source) source.close();
  source = null;
}

function again() {
  close();
  retry = setTimeout(async () => {
    try {
      const answer = await fetch("/history", { redirect: "error" });
      if (answer.status === 401) {
        location.reload();
        return;
      }
    } catch {
      // It is not there; the next attempt may succeed.
    }
    connect();
  }, RETRY);
}

function live(kind, text) {
  const sign = byId("live");
  sign.className = `live ${kind}`;
  setText(sign, text);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => {
      close();
      live("", "paused");
    }, HIDDEN_GRACE);
  } else if (!source) {
    connect();
    charts.fetch();
  }
});

// What is selected.

function select() {
  const wanted = selectedByUrl();
  const first = () => inOrder(state.apps.values())[0]?.name ?? null;
  // Where both fit on the screen, something is always selected.
  const name = wanted || (isWide() ? first() : null);
  document.body.classList.toggle("chosen", Boolean(wanted));
  if (name === state.selected) return;
  state.selected = name;
  log.choose(name);
  charts.choose(name);
  connect();
}

addEventListener("hashchange", () => {
  select();
  draw();
  scrollTo(0, 0);
});

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, dialog");
  if (event.key === "Escape" && typing && "value" in event.target) {
    event.target.value = "";
    event.target.dispatchEvent(new Event("input"));
    event.target.blur();
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("filter").focus();
  }
  const step = { j: 1, k: -1 }[event.key];
  if (step) {
    const names = inOrder(state.apps.values(), state.filter).map((app) => app.name);
    const at = names.indexOf(state.selected) + step;
    if (names[at]) location.hash = `#${names[at]}`;
  }
});

byId("filter").addEventListener("input", (event) => {
  state.filter = event.target.value.toLowerCase();
  draw();
});

// Drawing.

function draw() {
  frame ??= requestAnimationFrame(() => {
    frame = null;
    if (!state.apps.has(state.selected)) select();
    const shown = inOrder(state.apps.values(), state.filter);
    drawSummary();
    drawApps(byId("apps"), shown, state);
    const app = state.apps.get(state.selected);
    byId("detail").hidden = !app;
    byId("nothing").hidden = Boolean(app);
    if (app) drawDetail(app, state, now(), actions);
    else drawNothing(byId("nothing"), state);
  });
}

function drawSummary() {
  const apps = [...state.apps.values()];
  const counts = new Map();
  for (const app of inOrder(apps)) {
    const count = counts.get(app.state) ?? { tone: app.tone, number: 0 };
    count.number += 1;
    counts.set(app.state, count);
  }
  const chips = [...counts].map(([word, { tone, number }]) => {
    const chip = document.createElement("span");
    chip.className = `chip ${tone}`;
    chip.textContent = `${number} ${word}`;
    return chip;
  });
  byId("summary").replaceChildren(...chips);
  const sum = (of) => apps.reduce((total, app) => total + (of(app) ?? 0), 0);
  const totals = state.listed
    ? `${plural(apps.length, "app")} · ${plural(sum((app) => app.ready), "worker")} · ` +
      `cpu ${percent(sum((app) => app.cpu))} · ${bytes(sum((app) => app.memory))}`
    : "";
  setText(byId("totals"), totals);
  const bad = apps.filter((app) => app.tone === "bad" || app.tone === "warning").length;
  document.title = bad ? `(${bad}) supervisor` : "supervisor";
}

// Log and events.

function tab(name) {
  for (const one of ["log", "events"]) {
    byId(one).hidden = one !== name;
    byId(`tab-${one}`).setAttribute("aria-selected", String(one === name));
  }
  (name === "log" ? log : events).scroll();
}
byId("tab-log").addEventListener("click", () => tab("log"));
byId("tab-events").addEventListener("click", () => tab("events"));
byId("line-filter").addEventListener("input", (event) => {
  log.filter(event.target.value);
  events.filter(event.target.value);
});
byId("wrap").addEventListener("change", (event) => {
  document.body.classList.toggle("nowrap", !event.target.checked);
});
log.followBy(byId("follow"));

setInterval(() => {
  if (document.hidden) return;
  charts.fetch();
}, CHART_INTERVAL);
// Times of life grow although nothing is sent.
setInterval(draw, 1000);

select();
if (!source) connect();
