// The charts of the last hour. They share their time axis, and one cursor.

import { el, setText, svg } from "/dom.js";
import { bytes, count, milliseconds, minute, percent, rate, time } from "/format.js";

const WIDTH = 600;
const HEIGHT = 120;
/** Ranges in minutes: the shortest one that has all data is shown. */
const RANGES = [5, 15, 30, 60];

const ALL = [
  { key: "cpu", title: "CPU", format: percent, least: 10 },
  { key: "memory", title: "Memory", format: bytes, least: 1 << 20, binary: true },
  { key: "connections", title: "Connections", format: count, least: 4 },
  { key: "accepted", title: "Accepted per second", format: rate, least: 1 },
  { key: "delay", title: "Event loop, p99", format: milliseconds, least: 5 },
  { key: "backlog", title: "Queue", format: count, least: 4 },
  { key: "restarts", title: "Restarts", format: count, least: 2, bars: true },
];

const MARKS = { reload: "reload", "rolled-back": "rolled back", "primary-death": "primary died" };

export class Charts {
  #place;
  #app = null;
  #past = null;
  /** The step under the cursor. */
  #at = null;
  #busy = false;

  constructor(place) {
    this.#place = place;
    new ResizeObserver(() => this.#draw()).observe(place);
  }

  /** Shows this app from now on. */
  choose(app) {
    this.#app = app;
    this.#past = null;
    this.#at = null;
    this.#place.replaceChildren();
    this.fetch();
  }

  /** Fetches what was measured. */
  async fetch() {
    const app = this.#app;
    if (!app || this.#busy) return;
    this.#busy = true;
    try {
      const answer = await fetch(`/history?app=${encodeURIComponent(app)}`);
      if (answer.ok && app === this.#app) {
        this.#past = cut(await answer.json());
        this.#draw();
      }
    } catch {
      // The sign of the stream tells that there is no connection.
    } finally {
      this.#busy = false;
      if (app !== this.#app) this.fetch();
    }
  }

  #draw() {
    const past = this.#past;
    if (!past) return;
    // Node programs have an event loop; of the others, the rate of connections says more.
    const without = past.delay.some((value) => value !== null) ? "accepted" : "delay";
    const shown = ALL.filter((chart) => chart.key !== without);
    this.#place.replaceChildren(...shown.map((chart) => this.#chart(chart, past)));
    this.#showCursor();
  }

  #chart(chart, past) {
    const values = past[chart.key];
    const known = values.filter((value) => value !== null);
    const top = nice(Math.max(chart.least, ...known), chart.binary);
    const x = (at) => (at / (values.length - 1)) * WIDTH;
    const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 8);
    const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": chart.title });
    for (const part of [0.5, 1]) {
      drawing.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(top * part), y2: y(top * part) }));
    }
    drawing.append(svg("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }));
    const at = (ms) => (ms / 1000 - past.from) / past.step;
    for (const mark of past.marks) {
      const place = x(Math.min(at(mark.at), values.length - 1));
      drawing.append(
        svg("line", { class: `mark ${mark.kind}`, x1: place, x2: place, y1: 0, y2: HEIGHT },
          svg("title", {}, `${MARKS[mark.kind]}, ${time(mark.at)}: ${mark.text}`)),
      );
    }
    if (chart.bars) drawing.append(...bars(values, x, y));
    else drawing.append(...lines(values, x, y));
    drawing.append(svg("line", { class: "cursor", x1: -9, x2: -9, y1: 0, y2: HEIGHT }));
    const total = chart.bars ? known.reduce((sum, value) => sum + value, 0) : null;
    const latest = chart.bars ? `${count(total)} in ${past.minutes} min` : chart.format(known.at(-1));
    const card = el(
      "figure",
      { class: `chart ${chart.key}`, "data-latest": latest },
      el("figcaption", {}, el("span", { class: "title" }, chart.title), el("output", {}, latest)),
      el("div", { class: "plot" }, drawing, el("span", { class: "most" }, chart.format(top))),
      el("div", { class: "axis" }, el("span", {}, minute(past.from * 1000)), el("span", { class: "at" }), el("span", {}, "now")),
    );
    card.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const part = (event.clientX - box.left) / box.width;
      this.#at = Math.max(0, Math.min(values.length - 1, Math.round(part * (values.length - 1))));
      this.#showCursor();
    });
    card.addEventListener("pointerleave", () => {
      this.#at = null;
      this.#showCursor();
    });
    return card;
  }

  /** Shows the values under the cursor in all charts. */
  #showCursor() {
    const past = this.#past;
    for (const card of this.#place.children) {
      const chart = ALL.find((one) => card.classList.contains(one.key));
      const values = past[chart.key];
      const at = this.#at;
      const place = at === null ? -9 : (at / (values.length - 1)) * WIDTH;
      const cursor = card.querySelector(".cursor");
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      setText(card.querySelector("output"), at === null ? card.dataset.latest : chart.format(values[at]));
      setText(card.querySelector(".at"), at === null ? "" : time((past.from + at * past.step) * 1000));
    }
  }
}

/** Cuts the hour to the shortest range that has all data. */
function cut(past) {
  const first = past.memory.findIndex((value) => value !== null);
  const steps = first < 0 ? 0 : past.memory.length - first;
  const minutes = RANGES.find((range) => (range * 60) / past.step >= steps) ?? RANGES.at(-1);
  const keep = (minutes * 60) / past.step;
  const short = { ...past, minutes, from: past.from + (past.memory.length - keep) * past.step };
  for (const { key } of ALL) short[key] = past[key].slice(-keep);
  short.marks = past.marks.filter((mark) => mark.at / 1000 >= short.from);
  return short;
}

/** The next number above that people like: 1, 2 or 5 and zeros. */
function nice(value, binary) {
  const unit = binary ? 1024 ** Math.floor(Math.log(value) / Math.log(1024)) : 1;
  const rest = value / unit;
  const ten = 10 ** Math.floor(Math.log10(rest));
  const factor = [1, 2, 5, 10].find((one) => one * ten >= rest * 0.999);
  return factor * ten * unit;
}

/** Pieces of a line with the area below; a gap is where nothing is known. */
function lines(values, x, y) {
  const pieces = [];
  let piece = [];
  for (const [at, value] of [...values, null].entries()) {
    if (value !== null) piece.push([x(at), y(value)]);
    else if (piece.length) {
      pieces.push(piece);
      piece = [];
    }
  }
  return pieces.flatMap((points) => {
    // One point alone is a line that people can see.
    if (points.length === 1) points.push([points[0][0] + 1.5, points[0][1]]);
    const text = points.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L");
    const [first, last] = [points[0][0], points.at(-1)[0]];
    return [
      svg("path", { class: "area", d: `M${first} ${HEIGHT}L${text}L${last} ${HEIGHT}Z` }),
      svg("path", { class: "line", d: `M${text}` }),
    ];
  });
}

function bars(values, x, y) {
  const width = Math.max(2, x(1) * 0.7);
  return values.flatMap((value, at) =>
    value ? [svg("rect", { class: "bar", x: Math.min(x(at) - width / 2, WIDTH - width), y: y(value), width, height: HEIGHT - y(value) })] : [],
  );
}
