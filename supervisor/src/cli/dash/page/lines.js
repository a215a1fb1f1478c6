// The log of the selected app, and the events of all apps.

import { el } from "/dom.js";
import { time } from "/format.js";

/** Lines that the page keeps. */
const MOST = 2000;
/** How near to its end a pane still follows, in pixels. */
const NEAR = 24;
/** "0 | text": the slot, and what its worker wrote. */
const OF_SLOT = /^(\S{1,24}) \| (.*)$/;

/** A pane of lines that stays at its end until somebody scrolls back. */
class Pane {
  #place;
  #filter = "";
  #follows = true;
  #box = null;
  #late = [];

  constructor(place) {
    this.#place = place;
    place.addEventListener("scroll", () => {
      if (place.hidden) return;
      this.#set(place.scrollHeight - place.scrollTop - place.clientHeight < NEAR);
    });
  }

  /** Shows and takes whether it follows. */
  followBy(box) {
    this.#box = box;
    box.addEventListener("change", () => {
      this.#follows = box.checked;
      this.scroll();
    });
  }

  #set(follows) {
    this.#follows = follows;
    if (this.#box) this.#box.checked = follows;
  }

  filter(text) {
    this.#filter = text.toLowerCase();
    for (const line of this.#place.children) this.#hide(line);
    this.scroll();
  }

  #hide(line) {
    line.hidden = this.#filter !== "" && !line.textContent.toLowerCase().includes(this.#filter);
  }

  clear() {
    this.#late = [];
    this.#place.replaceChildren();
    this.#set(true);
  }

  /** Adds lines; they are drawn together. */
  push(...lines) {
    if (this.#late.length === 0) requestAnimationFrame(() => this.#flush());
    this.#late.push(...lines);
    if (this.#late.length > MOST) this.#late.splice(0, this.#late.length - MOST);
  }

  #flush() {
    const lines = this.inOrder(this.#late);
    this.#late = [];
    lines.forEach((line) => this.#hide(line));
    this.#place.append(...lines);
    const excess = this.#place.childElementCount - MOST;
    for (let n = 0; n < excess; n += 1) this.#place.firstElementChild.remove();
    this.scroll();
  }

  /** The order of lines that came together. */
  inOrder(lines) {
    return lines;
  }

  scroll() {
    if (this.#follows) this.#place.scrollTop = this.#place.scrollHeight;
  }
}

/** The log. */
export class Log extends Pane {
  #app = null;
  #since = 0;

  choose(app) {
    this.#app = app;
    this.clear();
  }

  /** The stream begins anew: what it sends is everything. */
  begin(now) {
    // Events that were there before belong between lines that are not shown.
    this.#since = now;
  }

  take({ app, begins, gone, lines }) {
    if (app !== this.#app) return;
    if (begins) this.clear();
    if (gone) this.push(el("div", { class: "line note" }, `${gone} lines came too fast to be shown`));
    this.push(...lines.map(([from, text]) => {
      const match = OF_SLOT.exec(text);
      const parts = match ? [el("b", {}, match[1]), match[2]] : [text];
      return el("div", { class: `line ${from}` }, ...parts);
    }));
  }

  /** Something happened in the app. */
  event({ at, text, bad }) {
    if (at < this.#since) return;
    this.push(el("div", { class: `line happened${bad ? " bad" : ""}` }, text));
  }
}

/** The events of all apps. */
export class Events extends Pane {
  /** Those from before the page was opened come app by app. */
  inOrder(lines) {
    return lines.sort((a, b) => a.dataset.at - b.dataset.at);
  }

  begin() {
    this.clear();
  }

  add({ at, app, text, bad, lines, command }) {
    const what = command ? `${command}: ${text}` : text;
    this.push(
      el(
        "div",
        { class: `line happened${bad ? " bad" : ""}`, "data-at": at },
        el("time", {}, time(at)),
        el("b", {}, app),
        what,
        ...lines.map((line) => el("div", { class: "line err" }, line)),
      ),
    );
  }
}
