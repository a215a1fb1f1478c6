// The list of apps.

import { el, keyed, setAttribute, setText, svg } from "/dom.js";
import { bytes, count, percent } from "/format.js";

const RANK = { bad: 0, warning: 1, busy: 2, good: 2, idle: 3 };

/** The apps whose name has the text, those in trouble first. */
export function inOrder(apps, filter = "") {
  return [...apps]
    .filter((app) => app.name.toLowerCase().includes(filter))
    .sort((a, b) => RANK[a.tone] - RANK[b.tone] || a.name.localeCompare(b.name));
}

/** Shows these apps. */
export function drawApps(list, apps, state) {
  keyed(list, apps, (app) => app.name, make, (item, app) => update(item, app, state));
}

function make(app) {
  const numbers = ["cpu", "memory", "connections"].map((name) => {
    return el("span", { class: "number", "data-of": name, title: name });
  });
  return el(
    "li",
    {},
    el(
      "a",
      { class: "app", href: `#${app.name}` },
      el("span", { class: "dot" }),
      el("span", { class: "name" }, app.name),
      el("span", { class: "ready" }),
      el("span", { class: "numbers" }, numbers),
      svg("svg", { class: "spark", viewBox: "0 0 60 18", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { class: "line" })),
      el("span", { class: "why" }),
    ),
  );
}

function update(item, app, state) {
  const link = item.firstElementChild;
  link.className = `app ${app.tone}`;
  setAttribute(link, "aria-current", app.name === state.selected ? "true" : null);
  const show = (selector, text) => setText(link.querySelector(selector), text);
  show(".name", app.name);
  show(".ready", app.state === "ready" ? `${app.ready}/${app.wanted}` : `${app.state} ${app.ready}/${app.wanted}`);
  // An app without workers has nothing to measure.
  for (const part of [".numbers", ".spark"]) {
    setAttribute(link.querySelector(part), "hidden", app.memory === null);
  }
  show('[data-of="cpu"]', percent(app.cpu));
  show('[data-of="memory"]', bytes(app.memory));
  show('[data-of="connections"]', `${count(app.connections)} conn`);
  show(".why", app.tone === "good" ? "" : app.reason ?? "");
  setAttribute(link.querySelector(".spark .line"), "d", path(app.spark));
}

/** A small graph of 60 × 18. */
function path(values) {
  const most = Math.max(5, ...values.filter((value) => value !== null));
  const first = 30 - values.length;
  let text = "";
  let pen = "M";
  values.forEach((value, at) => {
    if (value === null) {
      pen = "M";
      return;
    }
    text += `${pen}${((first + at) * 60) / 29} ${(17 - (value / most) * 16).toFixed(1)}`;
    pen = "L";
  });
  return text;
}
