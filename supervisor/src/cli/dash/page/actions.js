// What can be done to the selected app: a question, the command, and how it ended.

import { byId, el, keyed, setText } from "/dom.js";

const ALL = {
  reload: { title: "Reload", text: "Workers are replaced one by one; no connection is lost." },
  restart: { title: "Restart", text: "Workers are replaced one by one; no connection is lost." },
  "scale-up": { title: "+1", long: "One more worker", text: "One more worker starts.", words: "scale", by: " +1" },
  "scale-down": { title: "−1", long: "One worker less", text: "One worker drains and stops.", words: "scale", by: " -1" },
  stop: { title: "Stop", text: "Workers finish their connections and stop.", danger: true },
  start: { title: "Start", text: "The workers start." },
};

/** How long a message stays, in milliseconds. */
const GOOD = 6_000;
const BAD = 30_000;

export class Actions {
  #state;
  /** Commands that this page asked for, and their messages. */
  #running = new Map();
  /** Commands that ended before the page knew their numbers. */
  #early = [];

  constructor(state) {
    this.#state = state;
  }

  /** Shows the buttons, if this dashboard may act. */
  draw(place, app) {
    if (!this.#state().hello?.actions) {
      place.replaceChildren();
      return;
    }
    const stopped = app.state === "stopped";
    const names = stopped ? ["start"] : ["reload", "restart", "scale-down", "scale-up", "stop"];
    keyed(place, names, (name) => name, (name) => this.#button(name, app.name), () => {});
  }

  #button(name, app) {
    const { title, long, danger } = ALL[name];
    const button = el("button", { type: "button", class: danger ? "danger" : "plain", title: long ?? title, "aria-label": long ?? title, "data-action": name }, title);
    button.addEventListener("click", () => this.#ask(name, app));
    return button;
  }

  #ask(name, app) {
    const { title, long, text, words, by, danger } = ALL[name];
    setText(byId("question-title"), `${long ?? title}: ${app}`);
    setText(byId("question-text"), text);
    setText(byId("question-command"), `supervisor ${words ?? name} ${app}${by ?? ""}`);
    const yes = byId("question-yes");
    setText(yes, long ?? title);
    yes.className = danger ? "danger" : "primary";
    const dialog = byId("question");
    dialog.returnValue = "no";
    dialog.onclose = () => {
      if (dialog.returnValue === "yes") this.#act(name, app);
    };
    dialog.showModal();
  }

  async #act(name, app) {
    const toast = this.#toast(`${ALL[name].long ?? ALL[name].title}: ${app} …`, "busy");
    try {
      const answer = await fetch("/actions", {
        method: "POST",
        headers: { "content-type": "application/json", "x-csrf-token": this.#state().hello.csrf },
        body: JSON.stringify({ app, action: name }),
      });
      if (answer.ok) {
        const { id } = await answer.json();
        this.#running.set(id, toast);
        const early = this.#early.find((event) => event.id === id);
        if (early) this.ended(early);
      } else {
        this.#end(toast, (await answer.text()).trim(), true);
      }
    } catch {
      this.#end(toast, "the dashboard does not answer", true);
    }
  }

  /** A command has ended; it may be one of another page. */
  ended(event) {
    const { id, app, text, bad, lines } = event;
    const toast = this.#running.get(id);
    if (!toast) {
      this.#early = [...this.#early.slice(-20), event];
      return;
    }
    this.#running.delete(id);
    this.#end(toast, `${app}: ${text}`, bad, lines);
  }

  #toast(text, kind) {
    const toast = el("div", { class: `toast ${kind}` }, el("p", {}, text));
    toast.addEventListener("click", () => toast.remove());
    byId("toasts").append(toast);
    return toast;
  }

  #end(toast, text, bad, lines = []) {
    toast.className = `toast ${bad ? "bad" : "good"}`;
    toast.replaceChildren(el("p", {}, text));
    if (lines.length) toast.append(el("pre", {}, lines.slice(-8).join("\n")));
    setTimeout(() => toast.remove(), bad ? BAD : GOOD);
  }
}
